"""Which instruction is to blame: the smallest index among those that reported an error."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.registers import NO_INSN

from .issue import INDEX_BITS


class FirstError(wiring.Component):
    """``first`` is the smallest index that came with a ``fault`` since ``clear``, NO_INSN before any.

    Each source reports its instructions in order, so that only its first report counts. Nobody is in a hurry: one
    comparator serves the sources one after the other, so ``first`` is there ``latency`` cycles after the last fault.
    """

    def __init__(self, sources: int) -> None:
        self._sources = sources
        self.latency = 2 + sources
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
        seen, waits, kept = Signal(self._sources), Signal(self._sources), []
        for number in range(self._sources):
            index = Signal(INDEX_BITS, name=f"kept_{number}", reset_less=True)
            with m.If(self.fault[number] & ~seen[number]):
                m.d.sync += [seen[number].eq(1), waits[number].eq(1), index.eq(self.index[number])]
            kept.append(index)
        served, candidate = Signal(range(self._sources)), Signal(INDEX_BITS, reset_less=True)
        compares = Signal()
        m.d.sync += [compares.eq(waits.any()), candidate.eq(Array(kept)[served])]
        for number in reversed(range(self._sources)):
            with m.If(waits[number]):
                m.d.comb += served.eq(number)
        with m.If(waits.any()):
            m.d.sync += waits.bit_select(served, 1).eq(0)
        with m.If(compares & (candidate < self.first)):
            m.d.sync += self.first.eq(candidate)
        with m.If(self.clear):
            m.d.sync += [seen.eq(0), waits.eq(0), compares.eq(0), self.first.eq(NO_INSN)]
        return m
