"""When each instruction ran, engine by engine, from what the units showed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .trace_samples import Flags, Samples, Times

UNITS = ("load", "compute", "store")
FETCH = "fetch"
NO_ENGINE = "tokens only"
"""Row of the instructions that no engine executes: token-only ones, FINISH, and what is dropped."""


@dataclass(frozen=True)
class Span:
    """An instruction in an engine, from cycle ``begin`` up to ``end``.

    ``issued`` is the cycle in which the unit gave it to the engine, ``done`` the one in which its results had landed
    (-1: it never came). ``busy`` are the cycles of the span in which the engine worked.
    """

    index: int
    begin: int
    end: int
    issued: int
    done: int
    busy: int


class Engine:
    """One engine of a unit. Its spans are ascending and do not overlap.

    A span begins with the instruction's first step or, where an engine has none, with its issue or the end of the one
    before; it ends with its last step, when the next one may enter, or when it is done.
    """

    def __init__(self, unit: str, name: str, number: int, samples: Samples) -> None:
        self.unit, self.name = unit, name
        self._samples = samples
        issues = samples[f"{unit}.issue"] & (samples.value(f"{unit}.engine") == number)
        self.issued: Times = samples.begin[issues]
        self.indices: Times = samples.value(f"{unit}.index")[issues]
        self._issues = issues
        self._steps = f"{unit}.last_{name}"
        self._done = f"{unit}.done_{name}"
        self._moves = f"{unit}.move_{name}"
        self._busy = f"{unit}.busy_{name}"

    @cached_property
    def under_way(self) -> Flags:
        """Whether it has an instruction that has steps to come or, where steps are not shown, is not done."""
        samples = self._samples
        if self._busy in samples:
            inside: Flags = samples[self._busy] | self._issues
            return inside
        ends = samples[self._steps if self._steps in samples else self._done]
        flags: Flags = np.cumsum(self._issues) > np.cumsum(ends) - ends
        return flags

    @cached_property
    def unfinished(self) -> Flags:
        """Whether it has an instruction whose results are still to come."""
        done = self._samples[self._done]
        flags: Flags = np.cumsum(self._issues) > np.cumsum(done) - done
        return flags

    @cached_property
    def moving(self) -> Flags:
        """Whether it works; what does not show it works while an instruction is under way."""
        if self._moves not in self._samples:
            return self.under_way
        return self._samples[self._moves]

    @cached_property
    def spans(self) -> list[Span]:
        """Every instruction that it was given."""
        count, total = len(self.issued), self._samples.cycles
        done = np.append(self._samples.times(self._done), np.full(count, -1))[:count]
        ends = self._ends(done, total)
        begins = np.maximum(self.issued, np.append(0, ends[:-1]))
        if self._steps in self._samples:
            begins = np.minimum(self._first_moves(begins), np.maximum(ends - 1, begins))
        busy = self._samples.counts_until(self.moving, ends) - self._samples.counts_until(self.moving, begins)
        columns = (self.indices, begins, ends, self.issued, done, busy)
        return [Span(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _ends(self, done: Times, total: int) -> Times:
        samples, count = self._samples, len(self.issued)
        if self._steps in samples:
            ends = np.append(samples.times(self._steps) + 1, np.full(count, total))[:count]
        elif self._busy in samples:
            ends = samples.first_without(self._busy, self.issued) + 1
        else:
            ends = np.where(done < 0, total, done + 1)
        ascending: Times = np.maximum.accumulate(ends)
        return ascending

    def _first_moves(self, cycles: Times) -> Times:
        """For each cycle the first one from there on in which the engine works; else the end of the run."""
        begin = self._samples.begin[self.moving]
        end = begin + self._samples.length[self.moving]
        following = np.searchsorted(end, cycles, side="right")
        moves: Times = np.maximum(np.append(begin, self._samples.cycles)[following], cycles)
        return moves


class UnitTrace:
    """A unit with its engines, and the instructions that none of them executes."""

    def __init__(self, name: str, samples: Samples) -> None:
        self.name = name
        names = samples.names(f"{name}.done_")
        self.engines = [Engine(name, engine, number, samples) for number, engine in enumerate(names)]
        self.rest = Engine(name, NO_ENGINE, len(names), samples)

    @property
    def rest_spans(self) -> list[Span]:
        """One cycle each: they are done when they are issued."""
        rows = zip(self.rest.indices.tolist(), self.rest.issued.tolist(), strict=True)
        return [Span(index, cycle, cycle + 1, cycle, cycle, 0) for index, cycle in rows]


def fetch_spans(samples: Samples) -> list[Span]:
    """Each instruction from its arrival before the dispatcher to its dispatch."""
    issues = samples[f"{FETCH}.issue"]
    ends = samples.begin[issues] + 1
    before = np.append(0, ends[:-1])
    waits = samples[f"{FETCH}.head"]
    arrived = samples.begin[waits & ~samples.delayed(waits)]
    begins = before
    if len(ends):
        last = np.append(-1, arrived)[np.searchsorted(arrived, ends - 1, side="right")]
        begins = np.maximum(before, last)
    rows = zip(samples.value(f"{FETCH}.index")[issues].tolist(), begins.tolist(), ends.tolist(), strict=True)
    return [Span(index, begin, end, end - 1, end - 1, 1) for index, begin, end in rows]
