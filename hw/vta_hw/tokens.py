"""A dependency queue: it counts tokens, it never loses one."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.isa import TOKEN_LIMIT


class TokenQueue(wiring.Component):
    """Tokens from one unit to another.

    ``push`` takes effect where ``full`` is low; ``pop`` where ``available`` is high. Both may happen
    in one cycle. A token pushed in one cycle is available in the next.
    """

    def __init__(self) -> None:
        super().__init__({"push": In(1), "full": Out(1), "pop": In(1), "available": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        # ``fewer`` is count - 1: no adder waits for the decision to pop, which comes late in its cycle.
        count = Signal(range(TOKEN_LIMIT + 1))
        fewer = Signal(range(TOKEN_LIMIT + 1), init=TOKEN_LIMIT)
        m.d.comb += [self.full.eq(count == TOKEN_LIMIT), self.available.eq(count != 0)]
        pushed = self.push & ~self.full
        popped = self.pop & self.available
        with m.If(pushed & ~popped):
            m.d.sync += [count.eq(count + 1), fewer.eq(count)]
        with m.Elif(popped & ~pushed):
            m.d.sync += [count.eq(fewer), fewer.eq(fewer - 1)]
        return m
