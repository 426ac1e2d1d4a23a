"""What the units showed in a run, as arrays over stretches of cycles in which nothing changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WORD_BITS = 64
_PULSES = ("issue", "done", "last_")


class Samples:
    """The cycles of a run, counted from its start, in stretches of constant values.

    A stretch begins at ``begin`` and lasts ``length`` cycles, both int64 of shape [n]. Each change begins with a
    stretch of one cycle, so that :meth:`delayed` works, and a cycle with a pulse is a stretch of its own. ``cycles``:
    from start to done, both included.

    Args:
        changes: uint64 of shape [m, 1 + words]: a cycle, and what the port showed from then on.
        end: the cycle after the last one recorded.
        places: lowest bit and width of each value of the port; no value crosses a multiple of 64.
    """

    def __init__(self, changes: NDArray[np.uint64], end: int, places: Mapping[str, tuple[int, int]]) -> None:
        self._places = places
        self._words = changes[:, 1:]
        self._source = np.arange(len(changes))
        edges = np.append(changes[:, 0].astype(np.int64), end)
        first, beyond = self._limits(edges)
        self._source = np.arange(first, beyond)
        self._split(edges[first : beyond + 1])
        self.cycles = int(self.length.sum())

    def _limits(self, edges: Times) -> tuple[int, int]:
        """The changes from the last start on, up to its done or, if the run was given up, to the end."""
        starts = np.flatnonzero(self["run.start"])
        first = int(starts[-1]) if len(starts) else len(edges) - 1
        done = np.flatnonzero(self["run.done"][first:])
        return first, first + int(done[0]) + 1 if len(done) else len(edges) - 1

    def _split(self, edges: Times) -> None:
        lengths = np.diff(edges)
        pulses = [name for name in self._places if name.partition(".")[2].startswith(_PULSES)]
        pulsed = np.zeros(len(lengths), bool)
        for name in pulses:
            pulsed |= self[name]
        parts = np.where(pulsed, lengths, np.minimum(lengths, 2))
        position = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        last = position == np.repeat(parts, parts) - 1
        self.begin: Times = np.repeat(edges[:-1] - edges[:1], parts) + position
        self.length: Times = np.where(last, np.repeat(lengths - parts + 1, parts), 1)
        self._source = np.repeat(self._source, parts)

    def __len__(self) -> int:
        return len(self.begin)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def names(self, prefix: str) -> list[str]:
        """What follows ``prefix`` in the names that begin with it, in their order."""
        return [name.removeprefix(prefix) for name in self._places if name.startswith(prefix)]

    def value(self, name: str) -> Times:
        """A value in each stretch, int64 of shape [n]."""
        offset, width = self._places[name]
        word = self._words[self._source, offset // _WORD_BITS]
        values: Times = (word >> np.uint64(offset % _WORD_BITS) & np.uint64((1 << width) - 1)).astype(np.int64)
        return values

    def __getitem__(self, name: str) -> Flags:
        """Whether a value is not zero in each stretch, shape [n]; a value that is not there is zero."""
        if name not in self._places:
            return np.zeros(len(self._source), bool)
        flags: Flags = self.value(name) != 0
        return flags

    def delayed(self, flags: Flags) -> Flags:
        """What ``flags`` was a cycle earlier."""
        return np.append(False, flags[:-1])

    def times(self, name: str) -> Times:
        """The cycles of the pulses ``name``, ascending."""
        times: Times = self.begin[self[name]]
        return times

    def count(self, flags: Flags) -> int:
        """Cycles in which ``flags`` holds."""
        return int(self.length[flags].sum())

    def counts_until(self, flags: Flags, cycles: Times) -> Times:
        """For each of ``cycles``: in how many cycles before it ``flags`` holds."""
        held = np.where(flags, self.length, 0)
        before = np.append(0, np.cumsum(held))
        at = np.searchsorted(self.begin, cycles, side="right") - 1
        inside = np.minimum(cycles - self.begin[at], self.length[at])
        counts: Times = before[at] + np.where(flags[at], inside, 0)
        return counts

    def first_without(self, name: str, after: Times) -> Times:
        """For each of the cycles ``after``: the first later one in which the value is zero, else the last cycle."""
        free = ~self[name]
        begin = np.append(self.begin[free], self.cycles - 1)
        end = np.append(self.begin[free] + self.length[free], self.cycles)
        following = np.minimum(np.searchsorted(end, after + 1, side="right"), len(begin) - 1)
        first: Times = np.maximum(begin[following], after + 1)
        return first
