"""The timeline of recorded launches: every unit's instructions, why it waited, layers, and the traffic on the bus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.disasm import disassemble

from .trace_device import Launch
from .trace_json import ChromeTrace
from .trace_samples import Flags
from .trace_spans import FETCH, NO_ENGINE, UNITS, Span, UnitTrace, fetch_spans
from .trace_summary import Summary
from .trace_waits import PIPELINE, Wait, Waits

WINDOW = 128
"""Cycles of a counter's window."""
RUN, BUS = "run", "bus"
PROCESSES = (RUN, FETCH, *UNITS, BUS)
WAITS = " waits"
"""Ends the name of the row that says why the row above it stands still."""
ARRAY = "compute GEMM"


@dataclass(frozen=True)
class LayerPart:
    """A layer of a launch: instructions ``first`` up to ``first + count`` of its stream."""

    name: str
    first: int
    count: int
    macs: int = 0


def no_layers(_stream: bytes) -> Sequence[LayerPart]:
    """The layers of a stream of which nothing is known."""
    return ()


class TimelineWriter:
    """Writes one launch after the other to ``file``; :attr:`summary` adds them up.

    The launches follow each other without a gap: cycles are those of the accelerator, register accesses left out.

    Args:
        layers_of: the layers of a stream of instructions, in order.
    """

    def __init__(
        self, file: TextIO, cfg: VTAConfig, layers_of: Callable[[bytes], Sequence[LayerPart]] = no_layers
    ) -> None:
        self.summary = Summary()
        self._cfg, self._layers_of = cfg, layers_of
        self._trace = ChromeTrace(file, cfg.clock_mhz, PROCESSES)

    def close(self) -> None:
        """Write what follows the events."""
        facts = {"configuration": self._cfg.name, "clock_mhz": self._cfg.clock_mhz, "cycles": self.summary.cycles}
        self._trace.close(facts)

    def add(self, launch: Launch) -> None:
        """Write a launch."""
        layers = self._layers_of(launch.instructions)
        texts = disassemble(self._cfg, launch.instructions)
        _LaunchWriter(self._trace, self.summary, launch, texts, layers).write()
        self.summary.launches += 1
        self.summary.cycles += launch.samples.cycles


class _LaunchWriter:
    def __init__(
        self, trace: ChromeTrace, summary: Summary, launch: Launch, texts: list[str], layers: Sequence[LayerPart]
    ) -> None:
        self._trace, self._summary, self._launch, self._layers = trace, summary, launch, layers
        self._samples = launch.samples
        self._origin = summary.cycles
        self._names = [f"{index}: {text}" for index, text in enumerate(texts)]
        self._owners = [""] * len(texts)
        for part in layers:
            self._owners[part.first : part.first + part.count] = [part.name] * part.count

    def write(self) -> None:
        titles = ": ".join(
            [f"launch {self._summary.launches}", *filter(None, [", ".join(p.name for p in self._layers)])]
        )
        args = {"instructions": len(self._names), "errors": self._launch.result.errors}
        cycles = (self._origin, self._origin + self._samples.cycles)
        self._trace.span((RUN, "launches"), "launch", titles, cycles, args)
        self._write_layers(self._write_units())
        self._write_counters()

    def _write_units(self) -> dict[str, Sequence[Span]]:
        """Every engine's instructions and waits; the spans by row."""
        samples = self._samples
        units = [UnitTrace(name, samples) for name in UNITS]
        waits = Waits(samples)
        found = {
            f"{FETCH} instructions": self._write_row(FETCH, "instructions", fetch_spans(samples), waits.of_fetch())
        }
        for unit in units:
            for engine in unit.engines:
                row = self._write_row(unit.name, engine.name, engine.spans, waits.of(unit, engine))
                found[f"{unit.name} {engine.name}"] = row
            found[f"{unit.name} {NO_ENGINE}"] = self._write_row(unit.name, NO_ENGINE, unit.rest_spans, None)
        return found

    def _write_row(self, unit: str, row: str, spans: Sequence[Span], waits: Sequence[Wait] | None) -> Sequence[Span]:
        """The instructions of an engine and, where it can wait, the row of its waits."""
        origin = self._origin
        self._trace.row(unit, row)
        for span in spans:
            args: dict[str, int | str] = {"issued": span.issued + origin, "busy": span.busy}
            if span.done >= 0:
                args["done"] = span.done + origin
            if self._owners[span.index]:
                args["layer"] = self._owners[span.index]
            cycles = (span.begin + origin, span.end + origin)
            self._trace.span((unit, row), "instruction", self._names[span.index], cycles, args)
        if waits is None:
            return spans
        self._summary.add_engine(f"{unit} {row}", spans, waits)
        self._trace.row(unit, row + WAITS)
        for wait in waits:
            if wait.reason != PIPELINE:
                held = {"instruction": self._names[wait.index]} if wait.index >= 0 else {}
                cycles = (wait.begin + origin, wait.end + origin)
                self._trace.span((unit, row + WAITS), "wait", wait.reason, cycles, held)
        return spans

    def _write_layers(self, rows: dict[str, Sequence[Span]]) -> None:
        """A layer lasts from the end of the one before until all of its instructions are done."""
        done, busy = (np.zeros(len(self._names), np.int64) for _ in range(2))
        for row, spans in rows.items():
            for span in spans:
                done[span.index] = max(done[span.index], span.end, span.done + 1)
                busy[span.index] += span.busy if row == ARRAY else 0
        begin, total = 0, self._samples.cycles
        for number, part in enumerate(self._layers):
            own = slice(part.first, part.first + part.count)
            end = total if number == len(self._layers) - 1 else max(begin, int(done[own].max(initial=0)))
            array = int(busy[own].sum())
            args = {"array_busy": array, "macs": part.macs, "instructions": part.count}
            self._trace.span((RUN, "layers"), "layer", part.name, (begin + self._origin, end + self._origin), args)
            self._summary.add_layer(part.name, end - begin, array, part.macs)
            begin = end

    def _write_counters(self) -> None:
        samples = self._samples
        reads = np.zeros(len(samples), bool)
        for reader in samples.names(f"{BUS}.READ_"):
            reads |= samples[f"{BUS}.READ_{reader}"]
        self._write_counter("AXI read beats", reads)
        self._write_counter("AXI write beats", samples["store.move_STORE"])
        self._write_counter("array busy cycles", samples["compute.move_GEMM"])

    def _write_counter(self, name: str, flags: Flags) -> None:
        """How often ``flags`` holds in each window; nothing is written where it is as before."""
        total = self._samples.cycles
        edges = np.append(np.arange(0, total, WINDOW), total)
        values = np.append(np.diff(self._samples.counts_until(flags, edges)), 0)
        for place in np.flatnonzero(np.diff(values, prepend=-1)).tolist():
            value = {"value": int(values[place])}
            self._trace.counter(BUS, f"{name} in {WINDOW} cycles", int(edges[place]) + self._origin, value)
