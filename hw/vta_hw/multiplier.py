"""Small multipliers for wide words, half a word at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

HALF = 16


class LowMultipliers(wiring.Component):
    """product = the low ``width`` bits of left * right in each of ``lanes`` lanes, for a width of 16 or 32.

    A lane has one 16x16 multiplier, which forms the three partial products that reach the low half in turns:
    ((hi*lo + lo*hi) << 16) + lo*lo. It sees only the lower half of each word: operands are there for ``INTERVAL``
    cycles from ``start`` on, which is also how often one may start, and after each of the first ``SWAPS`` of these
    cycles their halves are :func:`swapped`. The product is there ``LATENCY`` cycles after ``start``, for one cycle.
    Products are zero from the cycle after ``enable`` falls.
    """

    INTERVAL = 3
    SWAPS = 2
    LATENCY = 6

    def __init__(self, *, width: int, lanes: int) -> None:
        self._width, self._lanes = width, lanes
        words = width * lanes
        super().__init__(
            {"enable": In(1), "start": In(1), "left": In(words), "right": In(words), "product": Out(words)}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        begun = Signal(5)
        m.d.comb += begun[0].eq(self.start)
        m.d.sync += begun[1:].eq(begun[:-1])
        for lane in range(self._lanes):
            left, right = (value.word_select(lane, self._width) for value in (self.left, self.right))
            m.d.comb += self.product.word_select(lane, self._width).eq(self._lane(m, f"{lane}", begun, left, right))
        return m

    def _lane(self, m: Module, name: str, begun: Signal, left: Value, right: Value) -> Value:
        """One multiplier with the registers and the adder that hardware multipliers have.

        The right operand comes a cycle late, so that its other half meets each half of the left one.
        """
        a, late, b = (Signal(HALF, name=f"{n}{name}", reset_less=True) for n in ("a", "late", "b"))
        partial = Signal(2 * HALF, name=f"partial{name}", reset_less=True)
        total = Signal(2 * HALF, name=f"total{name}", reset_less=True)
        m.d.sync += [late.eq(right), b.eq(late), partial.eq(a * b)]
        with m.If(~begun[3]):
            m.d.sync += a.eq(left)
        # The first sum also takes what was there before, moved out of the half that counts.
        moved = Cat(Const(0, HALF), total[:HALF])
        with m.If(~self.enable):
            m.d.sync += total.eq(0)
        with m.Else():
            m.d.sync += total.eq(partial + Mux(begun[4], total, moved))
        return total[: self._width]


def swapped(words: Value, width: int) -> Value:
    """Words of ``width`` bits, each with its halves exchanged; those that have but one stay as they are."""
    return Cat(words.word_select(lane, width).rotate_left(HALF % width) for lane in range(len(words) // width))
