"""Which instruction is to blame: the smallest index among those that reported an error."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.registers import NO_INSN

from .issue import INDEX_BITS


class FirstError(wiring.Component):
    """``first`` is the smallest index that came with a ``fault`` since ``clear``, NO_INSN before any.

    Each source reports its instructions in order, so that only its first report counts. Latency: ``latency``
    cycles, since nobody is in a hurry and a comparison a cycle keeps the paths short.
    """

    def __init__(self, sources: int) -> None:
        self._sources = sources
        self.latency = 1 + (sources - 1).bit_length()
        super().__init__(
            {
                "clear": In(1),
                "fault": In(sources),
                "index": In(INDEX_BITS).array(sources),
                "first": Out(INDEX_BITS, init=NO_INSN),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        level: list[Value] = []
        for number in range(self._sources):
            seen = Signal(name=f"seen_{number}")
            kept = Signal(INDEX_BITS, init=NO_INSN, name=f"kept_{number}")
            with m.If(self.clear):
                m.d.sync += [seen.eq(0), kept.eq(NO_INSN)]
            with m.Elif(self.fault[number] & ~seen):
                m.d.sync += [seen.eq(1), kept.eq(self.index[number])]
            level.append(kept)
        while len(level) > 1:
            following = []
            for number in range(0, len(level) - 1, 2):
                least = Signal(INDEX_BITS, init=NO_INSN, name=f"least_{len(level)}_{number}")
                left, right = level[number], level[number + 1]
                m.d.sync += least.eq(Mux(left < right, left, right))
                following.append(least)
            level = following + level[len(following) * 2 :]
        m.d.comb += self.first.eq(level[0])
        return m
