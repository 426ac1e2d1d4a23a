"""A memory behind a read bus, for benches: latency, stalls, and a count of beats that had to wait."""

from __future__ import annotations

import random
from collections import deque
from typing import Any


class ReadMemory:
    """Serves the bursts of a ``vta_hw.axi.ReadSignature``; call ``drive``, let signals settle, then ``observe``.

    ``waited`` counts the cycles in which a beat was offered and not taken.
    """

    def __init__(self, contents: bytes, bus_bytes: int, *, latency: int, stall: float, rng: random.Random) -> None:
        self.contents = contents
        self.waited = 0
        self._bus, self._latency, self._stall, self._rng = bus_bytes, latency, stall, rng
        self._cycle = 0
        self._beats: deque[tuple[int, int, bool]] = deque()
        self._offered = False

    def drive(self, ctx: Any, bus: Any) -> None:
        """Sets the bus' inputs for this cycle; an offered beat stays offered."""
        there = bool(self._beats) and self._beats[0][0] <= self._cycle
        self._offered = there and (self._offered or self._rng.random() >= self._stall)
        ctx.set(bus.r.valid, self._offered)
        if self._offered:
            _, address, last = self._beats[0]
            word = int.from_bytes(self.contents[address : address + self._bus], "little")
            ctx.set(bus.r.payload, {"data": word, "resp": 0, "last": last})
        ctx.set(bus.ar.ready, self._rng.random() >= self._stall)

    def observe(self, ctx: Any, bus: Any) -> None:
        """Takes note of what was transferred in this cycle."""
        if self._offered and ctx.get(bus.r.ready):
            self._beats.popleft()
            self._offered = False
        elif self._offered:
            self.waited += 1
        if ctx.get(bus.ar.valid) and ctx.get(bus.ar.ready):
            first, count = ctx.get(bus.ar.payload.addr), ctx.get(bus.ar.payload.len) + 1
            assert first % self._bus == 0
            for n in range(count):
                self._beats.append((self._cycle + self._latency, first + n * self._bus, n == count - 1))
        self._cycle += 1
