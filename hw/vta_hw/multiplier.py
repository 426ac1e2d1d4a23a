"""A small multiplier for wide words, half a word at a time."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

HALF = 16


class LowMultiplier(wiring.Component):
    """product = the low ``width`` bits of left * right, for a width of 16 or 32.

    One 16x16 multiplier is used for the three partial products that reach the low half:
    lo*lo + ((lo*hi + hi*lo) << 16). ``left`` and ``right`` stay stable from ``start`` to ``done``; ``done``
    (one cycle) and the product come 5 cycles after ``start``.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        super().__init__({"start": In(1), "left": In(width), "right": In(width), "product": Out(width), "done": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        step = Signal(4)
        a, b = Signal(HALF, reset_less=True), Signal(HALF, reset_less=True)
        partial = Signal(2 * HALF, reset_less=True)
        first = Signal()
        left, right = self.left, self.right
        m.d.sync += [step.eq(step << 1 | self.start), first.eq(step[0]), partial.eq(a * b)]
        m.d.sync += [
            a.eq(Mux(step[1], left[HALF:], left[:HALF])),
            b.eq(Mux(step[0], right[HALF:], right[:HALF])),
        ]
        with m.If(first):
            m.d.sync += self.product.eq(partial)
        with m.Else():
            m.d.sync += self.product.eq(self.product + (partial << HALF))
        m.d.sync += self.done.eq(step[3])
        return m
