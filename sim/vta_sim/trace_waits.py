"""Why an engine did not work: a reason for each idle cycle until it has nothing more to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .trace_samples import Flags, Samples
from .trace_spans import FETCH, UNITS, Engine, UnitTrace

Codes = NDArray[np.int16]

QUEUE_EMPTY = "queue empty"
IN_ORDER = "an instruction of another engine"
MEMORY = "data: memory latency"
BANK = "bank in use"
UOPS = "micro-ops being loaded or read"
ROOM = "too many instructions under way"
START_UP = "pipeline start-up"
PIPELINE = "pipeline"
"""Between the steps of an engine that does not take one a cycle; counted, but not drawn."""
BANKLESS = ("LOAD UOP", "LOAD REQ")
"""Engines that never touch an accumulator."""
_READS = "READ_"


@dataclass(frozen=True)
class Wait:
    """Cycles ``begin`` up to ``end`` in which an engine did not work. ``index``: the instruction held up; -1: none."""

    reason: str
    begin: int
    end: int
    index: int


class Waits:
    """The waits of all engines of a run."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._names = [""]
        self._starved = self._fetch_reason(QUEUE_EMPTY)

    def of(self, unit: UnitTrace, engine: Engine) -> list[Wait]:
        """Every wait of an engine, ascending, up to the end of its last instruction, also of one that it never got."""
        samples = self._samples
        codes = self._head_codes(unit, engine)
        inside = engine.under_way
        codes[inside] = self._inside_codes(unit, engine)[inside]
        codes[engine.moving | (samples.begin >= self._end(unit, engine))] = 0
        held = np.where(samples[f"{unit.name}.head"], samples.value(f"{unit.name}.index"), -1)
        held = np.where(inside, _current(engine, samples), held)
        return list(self._runs(codes, held))

    def _end(self, unit: UnitTrace, engine: Engine) -> int:
        """The cycle from which an engine has nothing more to do."""
        samples = self._samples
        own = samples[f"{unit.name}.head"] & (samples.value(f"{unit.name}.engine") == unit.engines.index(engine))
        if own[-1:].any():
            return samples.cycles
        return engine.spans[-1].end if engine.spans else 0

    def of_fetch(self) -> list[Wait]:
        """Why nothing was dispatched while instructions were to come."""
        samples = self._samples
        codes = self._fetch_reason("")
        codes[samples[f"{FETCH}.issue"]] = 0
        held = np.where(samples[f"{FETCH}.head"], samples.value(f"{FETCH}.index"), -1)
        return list(self._runs(codes, held))

    def _code(self, reason: str) -> int:
        if reason not in self._names:
            self._names.append(reason)
        return self._names.index(reason)

    def _mark(self, codes: Codes, where: Flags, reason: str) -> None:
        codes[where] = self._code(reason)

    def _runs(self, codes: Codes, held: NDArray[np.int64]) -> Iterator[Wait]:
        """Neighbouring stretches of the same reason and instruction as one."""
        samples = self._samples
        changes = np.flatnonzero((np.diff(codes) != 0) | (np.diff(held) != 0)) + 1
        first = np.concatenate(([0], changes)) if len(codes) else changes
        begin, end = samples.begin[first], np.append(samples.begin[changes], samples.cycles)
        for code, start, stop, index in zip(
            codes[first].tolist(), begin.tolist(), end.tolist(), held[first].tolist(), strict=True
        ):
            if code:
                yield Wait(self._names[code], start, stop, index)

    # Reasons, each list from the weakest to the strongest -------------------------------------
    def _fetch_reason(self, prefix: str) -> Codes:
        """Why the dispatcher hands on nothing."""
        samples = self._samples
        codes = np.full(len(samples), self._code(prefix), np.int16)
        comma = f"{prefix}: fetch waits for " if prefix else ""
        self._mark(codes, samples[f"{FETCH}.asking"], f"{comma}memory")
        for unit in UNITS:
            full = samples[f"{FETCH}.head"] & samples[f"{FETCH}.to_{unit}"] & ~samples[f"{FETCH}.issue"]
            self._mark(codes, full, f"{comma}room in the {unit} queue")
        return codes

    def _head_codes(self, unit: UnitTrace, engine: Engine) -> Codes:
        """Why the unit gives the engine nothing: what holds up its oldest instruction, or that it has none."""
        samples, name = self._samples, unit.name
        head = samples[f"{name}.head"]
        codes = self._starved.copy()
        self._mark(codes, head, BANK)
        self._mark_bank(codes, head, unit, None)
        number = samples.value(f"{name}.engine")
        for place, other in enumerate(unit.engines):
            self._mark(codes, head & (number == place) & other.unfinished, f"{other.name} busy")
        self._mark(codes, samples[f"{name}.lack_uop"] & head, UOPS)
        self._mark(codes, samples[f"{name}.lack_room"] & head, ROOM)
        for neighbour in UNITS:
            self._mark(codes, samples[f"{name}.lack_{neighbour}"] & head, f"token from {neighbour}")
        own = number == unit.engines.index(engine)
        codes[samples[f"{name}.issue"] & own] = 0
        self._mark(codes, samples[f"{name}.issue"] & ~own, IN_ORDER)
        return codes

    def _inside_codes(self, unit: UnitTrace, engine: Engine) -> Codes:
        """Why an engine with an instruction does not work."""
        samples, name = self._samples, unit.name
        codes = np.full(len(samples), self._code(PIPELINE), np.int16)
        if engine.name.startswith("LOAD "):
            codes[:] = self._code(MEMORY)
            for reader in samples.names(f"bus.{_READS}"):
                if not engine.name.endswith(reader):
                    # A beat is written in the cycle after it came.
                    self._mark(codes, samples.delayed(samples[f"bus.{_READS}{reader}"]), f"bus: reads of {reader}")
        elif f"{name}.last_{engine.name}" in samples:
            codes[:] = self._code(START_UP)
        held = samples[f"{name}.hold_{engine.name}"]
        self._mark(codes, held, BANK)
        self._mark_bank(codes, held, unit, engine)
        self._mark(codes, samples[f"{name}.acc_wait"], "accumulators in use by compute")
        self._mark(codes, samples[f"{name}.bus_wait"], "bus: writes")
        return codes

    def _mark_bank(self, codes: Codes, where: Flags, unit: UnitTrace, waiting: Engine | None) -> None:
        """Name the engine whose older instruction keeps another one from the accumulators."""
        for other in unit.engines:
            if other is not waiting and other.name not in BANKLESS:
                self._mark(codes, where & other.unfinished, f"{BANK} by {other.name}")


def _current(engine: Engine, samples: Samples) -> NDArray[np.int64]:
    """The index of the instruction in the engine, in each stretch; -1 before the first."""
    spans = engine.spans
    ends = np.array([span.end for span in spans])
    indices = np.array([*(span.index for span in spans), -1])
    return indices[np.searchsorted(ends, samples.begin, side="right")]
