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
        # ``negated`` is -count, whose complement is count - 1: no adder waits for the decision to pop, which comes late
        # in its cycle, and none subtracts, which takes an inverter for each bit.
        count, negated = (Signal(range(TOKEN_LIMIT + 1), name=name) for name in ("count", "negated"))
        m.d.comb += [self.full.eq(count == TOKEN_LIMIT), self.available.eq(count != 0)]
        pushed = self.push & ~self.full
        popped = self.pop & self.available
        with m.If(pushed & ~popped):
            m.d.sync += [count.eq(count + 1), negated.eq(~count)]
        with m.Elif(popped & ~pushed):
            m.d.sync += [count.eq(~negated), negated.eq(negated + 1)]
        return m
