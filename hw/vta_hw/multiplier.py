"""Small multipliers for wide words, half a word at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

HALF = 16


class LowMultipliers(wiring.Component):
    """product = the low ``width`` bits of left * right in each of ``lanes`` lanes, for a width of 16 or 32.

    A lane has one 16x16 multiplier, which forms the three partial products that reach the low half in turns:
    ((hi*lo + lo*hi) << 16) + lo*lo. Operands stay stable from ``start`` on for ``INTERVAL`` cycles, which is also
    how often one may start. The product is there ``LATENCY`` cycles after ``start``, for one cycle. Products are
    zero from the cycle after ``enable`` falls.
    """

    INTERVAL = 3
    LATENCY = 5

    def __init__(self, *, width: int, lanes: int) -> None:
        self._width, self._lanes = width, lanes
        words = width * lanes
        super().__init__(
            {"enable": In(1), "start": In(1), "left": In(words), "right": In(words), "product": Out(words)}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        begun = Signal(4)
        m.d.comb += begun[0].eq(self.start)
        m.d.sync += begun[1:].eq(begun[:-1])
        for lane in range(self._lanes):
            left, right = (value.word_select(lane, self._width) for value in (self.left, self.right))
            m.d.comb += self.product.word_select(lane, self._width).eq(self._lane(m, f"{lane}", begun, left, right))
        return m

    def _lane(self, m: Module, name: str, begun: Signal, left: Value, right: Value) -> Value:
        """One multiplier with the registers and the adder that hardware multipliers have."""
        a, b = (Signal(HALF, name=f"{n}{name}", reset_less=True) for n in "ab")
        partial = Signal(2 * HALF, name=f"partial{name}", reset_less=True)
        total = Signal(2 * HALF, name=f"total{name}", reset_less=True)
        m.d.sync += [
            a.eq(Mux(begun[0], left[HALF:], left[:HALF])),
            b.eq(Mux(begun[1], right[HALF:], right[:HALF])),
            partial.eq(a * b),
        ]
        # The first sum also takes what was there before, moved out of the half that counts.
        moved = Cat(Const(0, HALF), total[:HALF])
        with m.If(~self.enable):
            m.d.sync += total.eq(0)
        with m.Else():
            m.d.sync += total.eq(partial + Mux(begun[3], total, moved))
        return total[: self._width]
