"""A file in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO


class ChromeTrace:
    """Writes events as they come: complete ones (``X``), counters (``C``) and the names of rows (``M``).

    Cycles become microseconds of a clock of ``clock_mhz``, rounded to nanoseconds the same way everywhere, so that
    neighbours stay neighbours; ``args`` have the cycles themselves. ``processes`` are the groups of rows, in order.
    Numbers of processes and rows begin at 1 and are all different: viewers take 0 for the idle task.
    """

    def __init__(self, file: TextIO, clock_mhz: float, processes: Sequence[str]) -> None:
        self._file, self._clock_mhz = file, clock_mhz
        self._processes = {process: number for number, process in enumerate(processes, 1)}
        self._rows: dict[tuple[str, str], int] = {}
        self._separator = ""
        file.write('{"traceEvents": [\n')
        for process, number in self._processes.items():
            self._describe("process", number, number, process)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write ``facts`` about the trace and end the file."""
        self._file.write(f'\n], "displayTimeUnit": "ns", "otherData": {json.dumps(dict(facts))}}}\n')

    def row(self, process: str, row: str) -> int:
        """The number of a row; rows are shown in the order in which they are first asked for."""
        key = (process, row)
        if key not in self._rows:
            self._rows[key] = number = len(self._processes) + len(self._rows) + 1
            self._describe("thread", self._processes[process], number, row)
        return self._rows[key]

    def span(
        self, place: tuple[str, str], category: str, name: str, cycles: tuple[int, int], args: Mapping[str, Any]
    ) -> None:
        """An event in the row ``place`` (process, row) from the first of ``cycles`` up to the second."""
        begin, end = cycles
        if end <= begin:
            return
        start = self._nanoseconds(begin)
        event: dict[str, Any] = {"name": name, "cat": category, "ph": "X", "pid": self._processes[place[0]]}
        event |= {"tid": self.row(*place), "ts": start / 1000, "dur": (self._nanoseconds(end) - start) / 1000}
        self._event(event | {"args": {"cycle": begin, "cycles": end - begin, **args}})

    def counter(self, process: str, name: str, cycle: int, values: Mapping[str, int]) -> None:
        """The values of a counter from a cycle on."""
        number = self._processes[process]
        event = {"name": name, "ph": "C", "pid": number, "tid": number}
        self._event(event | {"ts": self._nanoseconds(cycle) / 1000, "args": dict(values)})

    def _nanoseconds(self, cycle: int) -> int:
        return round(cycle * 1000 / self._clock_mhz)

    def _describe(self, what: str, pid: int, tid: int, name: str) -> None:
        """The name of a process or row, which stands where its number says."""
        for kind, args in (("name", {"name": name}), ("sort_index", {"sort_index": tid})):
            self._event({"name": f"{what}_{kind}", "ph": "M", "pid": pid, "tid": tid, "ts": 0, "args": args})

    def _event(self, event: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(event, separators=(",", ":")))
        self._separator = ",\n"
