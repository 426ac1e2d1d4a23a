"""Writes recorded launches as a trace that ui.perfetto.dev and chrome://tracing open.

The format is the "JSON Array" one of the Trace Event Format: complete events (``X``) for instructions, waits, layers and
launches, counters (``C``), and names of the rows (``M``). Time is that of the configuration's clock, rounded to
nanoseconds; ``args`` have the cycles themselves, counted over all launches, register accesses left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.disasm import disassemble

from .trace_device import Launch
from .trace_samples import Flags, Samples
from .trace_spans import FETCH, NO_ENGINE, UNITS, Span, UnitTrace, fetch_spans
from .trace_summary import Summary
from .trace_waits import PIPELINE, Wait, Waits

WINDOW = 128
"""Cycles of a counter's window."""
RUN, BUS = "run", "bus"
PROCESSES = (RUN, FETCH, *UNITS, BUS)
WAITS = " waits"
"""Ends the name of the row that says why the row above it stands still."""


@dataclass(frozen=True)
class LayerPart:
    """A layer of a launch: instructions ``first`` up to ``first + count`` of its stream."""

    name: str
    first: int
    count: int
    macs: int = 0


class TimelineWriter:
    """Writes one launch after the other to ``file``; :attr:`summary` adds them up.

    Args:
        layers_of: the layers of a stream of instructions, in order; none where they are not known.
    """

    def __init__(
        self, file: TextIO, cfg: VTAConfig, layers_of: Callable[[bytes], Sequence[LayerPart]] = lambda _stream: ()
    ) -> None:
        self.summary = Summary()
        self._file, self._cfg, self._layers_of = file, cfg, layers_of
        self._rows: dict[tuple[str, str], int] = {}
        self._separator = ""
        self._origin = 0
        file.write('{"traceEvents": [\n')
        for number, process in enumerate(PROCESSES):
            self._describe("process", number, 0, process, number)

    def close(self) -> None:
        """Write what follows the events."""
        cfg = self._cfg
        other = {"configuration": cfg.name, "clock_mhz": cfg.clock_mhz, "cycles": self.summary.cycles}
        self._file.write(f'\n], "displayTimeUnit": "ns", "otherData": {json.dumps(other)}}}\n')

    def add(self, launch: Launch) -> None:
        """Write a launch."""
        samples = launch.samples
        self._origin = self.summary.cycles
        texts = disassemble(self._cfg, launch.instructions)
        layers = self._layers_of(launch.instructions)
        owners = [""] * len(texts)
        for part in layers:
            owners[part.first : part.first + part.count] = [part.name] * part.count
        spans = self._write_units(samples, texts, owners)
        self._write_layers(layers, spans, samples)
        names = ", ".join(part.name for part in layers)
        args = {"instructions": len(texts), "errors": launch.result.errors}
        title = f"launch {self.summary.launches}{': ' if names else ''}{names}"
        self._span(RUN, "launches", "launch", title, 0, samples.cycles, args)
        self._write_counters(samples)
        self.summary.launches += 1
        self.summary.cycles += samples.cycles

    # Parts of a launch ----------------------------------------------------------------------
    def _write_units(self, samples: Samples, texts: Sequence[str], owners: Sequence[str]) -> dict[str, list[Span]]:
        """Every engine's instructions and waits; the spans by row."""
        units = [UnitTrace(name, samples) for name in UNITS]
        waits = Waits(samples, units)
        found = {f"{FETCH} instructions": fetch_spans(samples)}
        self._write_row(FETCH, "instructions", found[f"{FETCH} instructions"], waits.of_fetch(), texts, owners)
        for unit in units:
            for engine in unit.engines:
                found[f"{unit.name} {engine.name}"] = engine.spans
                self._write_row(unit.name, engine.name, engine.spans, waits.of(unit, engine), texts, owners)
            found[f"{unit.name} {NO_ENGINE}"] = rest = unit.rest_spans
            self._write_row(unit.name, NO_ENGINE, rest, None, texts, owners)
        return found

    def _write_row(
        self,
        unit: str,
        row: str,
        spans: Sequence[Span],
        waits: Sequence[Wait] | None,
        texts: Sequence[str],
        owners: Sequence[str],
    ) -> None:
        self._row(unit, row)
        for span in spans:
            args = {"issued": span.issued, "done": span.done}
            args = {name: cycle + self._origin for name, cycle in args.items() if cycle >= 0} | {"busy": span.busy}
            labels = {"layer": owners[span.index]} if owners[span.index] else {}
            self._span(unit, row, "instruction", f"{span.index}: {texts[span.index]}", span.begin, span.end, args | labels)
        if waits is None:
            return
        self.summary.add_engine(f"{unit} {row}", spans, waits)
        self._row(unit, row + WAITS)
        for wait in waits:
            if wait.reason != PIPELINE:
                held = {"instruction": f"{wait.index}: {texts[wait.index]}"} if wait.index >= 0 else {}
                self._span(unit, row + WAITS, "wait", wait.reason, wait.begin, wait.end, held)

    def _write_layers(self, layers: Sequence[LayerPart], found: dict[str, list[Span]], samples: Samples) -> None:
        """A layer lasts from the end of the one before until all of its instructions are done."""
        if not layers:
            return
        done = np.zeros(max(part.first + part.count for part in layers), np.int64)
        busy = np.zeros_like(done)
        for row, spans in found.items():
            for span in spans:
                if span.index < len(done):
                    done[span.index] = max(done[span.index], span.end, span.done + 1)
                    busy[span.index] += span.busy if row == "compute GEMM" else 0
        begin = 0
        for number, part in enumerate(layers):
            own = slice(part.first, part.first + part.count)
            end = samples.cycles if number == len(layers) - 1 else int(max(begin, *done[own]))
            array = int(busy[own].sum())
            args = {"array_busy": array, "macs": part.macs, "instructions": part.count}
            self._span(RUN, "layers", "layer", part.name, begin, end, args)
            self.summary.add_layer(part.name, end - begin, array, part.macs)
            begin = end

    def _write_counters(self, samples: Samples) -> None:
        reads = np.zeros(len(samples), bool)
        for reader in samples.names(f"{BUS}.READ_"):
            reads |= samples[f"{BUS}.READ_{reader}"]
        self._write_counter("AXI read beats", "beats", reads, samples)
        self._write_counter("AXI write beats", "beats", samples["store.move_STORE"], samples)
        self._write_counter("array busy", "cycles", samples["compute.move_GEMM"], samples)

    def _write_counter(self, name: str, unit: str, flags: Flags, samples: Samples) -> None:
        """How often ``flags`` holds in each window; where it is as before nothing is written."""
        begins = np.arange(0, samples.cycles, WINDOW)
        before = samples.counts_until(flags, np.append(begins, samples.cycles))
        values = np.append(np.diff(before), 0)
        cycles = np.append(begins, samples.cycles)
        for place in np.flatnonzero(np.diff(values, prepend=-1)).tolist():
            event = {"name": f"{name} in {WINDOW} cycles", "ph": "C", "pid": PROCESSES.index(BUS), "tid": 0}
            self._event(event | {"ts": self._time(int(cycles[place])), "args": {unit: int(values[place])}})

    # Events -----------------------------------------------------------------------------------
    def _span(
        self, process: str, row: str, category: str, name: str, begin: int, end: int, args: dict[str, Any]
    ) -> None:
        if end <= begin:
            return
        start, cycles = self._time(begin), {"cycle": begin + self._origin, "cycles": end - begin}
        nanoseconds = round(self._time(end) * 1000) - round(start * 1000)
        event = {"name": name, "cat": category, "ph": "X", "pid": PROCESSES.index(process)}
        event |= {"tid": self._row(process, row), "ts": start, "dur": nanoseconds / 1000}
        self._event(event | {"args": cycles | args})

    def _time(self, cycle: int) -> float:
        """A cycle of the launch in microseconds of the trace, whole nanoseconds."""
        return round((cycle + self._origin) * 1000 / self._cfg.clock_mhz) / 1000

    def _row(self, process: str, row: str) -> int:
        """The row's number; rows are shown in the order in which they are first asked for."""
        key = (process, row)
        if key not in self._rows:
            self._rows[key] = number = len(self._rows) + 1
            self._describe("thread", PROCESSES.index(process), number, row, number)
        return self._rows[key]

    def _describe(self, what: str, pid: int, tid: int, name: str, order: int) -> None:
        for kind, args in (("name", {"name": name}), ("sort_index", {"sort_index": order})):
            self._event({"name": f"{what}_{kind}", "ph": "M", "pid": pid, "tid": tid, "ts": 0, "args": args})

    def _event(self, event: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(event, separators=(",", ":")))
        self._separator = ",\n"


def write_all(writer: TimelineWriter, launches: Iterable[Launch]) -> None:
    """Write launches and end the file."""
    for launch in launches:
        writer.add(launch)
    writer.close()
