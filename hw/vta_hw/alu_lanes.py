"""What the ALU does with two vectors of accumulators."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.isa import AluOp

from .multiplier import LowMultipliers

GROUP = 4
"""Bits that a shift moves together in its second stage: the first one then takes one LUT of six inputs a bit."""


class AluLanes(wiring.Component):
    """out = op(x, y) in each of ``lanes`` lanes of ``width`` bits (16 or 32), signed.

    Latency: ``LATENCY`` cycles, for MUL ``MUL_LATENCY``. Throughput: one a cycle, for MUL one in ``MUL_INTERVAL``
    cycles; ``start`` marks the first cycle of its operands, see :class:`LowMultipliers`. ``op`` is set a cycle before
    the first operands and stays until the last result.

    Shifts rotate to the right by the low bits of the signed amount, which is right for both directions; what came
    around the end is replaced. The same multiplexer chooses for MIN and MAX.
    """

    LATENCY = 2
    MUL_LATENCY = LowMultipliers.LATENCY + 1
    MUL_INTERVAL = LowMultipliers.INTERVAL

    def __init__(self, *, width: int, lanes: int) -> None:
        self._width, self._lanes = width, lanes
        words = width * lanes
        super().__init__({"op": In(AluOp), "start": In(1), "x": In(words), "y": In(words), "out": Out(words)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        width = self._width
        m.submodules.mul = mul = LowMultipliers(width=width, lanes=self._lanes)
        m.d.comb += [
            mul.enable.eq(self.op == AluOp.MUL),
            mul.start.eq(self.start),
            mul.left.eq(self.x),
            mul.right.eq(self.y),
        ]
        self._is = {op: Signal(name=f"is_{op.name}", reset_less=True) for op in AluOp}
        m.d.sync += [executed.eq(self.op == op) for op, executed in self._is.items()]
        for lane in range(self._lanes):
            x, y, product = (value.word_select(lane, width) for value in (self.x, self.y, mul.product))
            # Products are zero while another operation is executed, and the rest is while MUL is.
            rest = self._simple(m, f"{lane}", x, y)
            kept, shifted = self._shift(m, f"{lane}", x, y)
            m.d.sync += self.out.word_select(lane, width).eq((shifted & kept) | (rest & ~kept) | product)
        return m

    def _simple(self, m: Module, name: str, x: Value, y: Value) -> Signal:
        """What is not of ``x`` itself: sums; of MIN and MAX, ``y``; of SHR, what comes in at the ends. Zero for MUL.

        Registered.
        """
        width = self._width
        result = Signal(width, name=f"simple{name}", reset_less=True)
        shifts, left = self._is[AluOp.SHR], y[-1]
        # y + x, y + 0, or in a shift y + ~y, all ones, whose carry-in decides what all bits become.
        other = Mux(shifts, ~y, Mux(self._is[AluOp.ADD], x, 0))
        total = Signal(width + 1, name=f"total{name}")
        m.d.comb += total.eq(Cat(Const(1, 1), y) + Cat(shifts & (left | ~x[-1]), other))
        with m.If(self._is[AluOp.MUL]):
            m.d.sync += result.eq(0)
        with m.Else():
            m.d.sync += result.eq(total[1:])
            # The highest bit is replaced in the longest shifts only: to the left, the lowest one arrives there.
            with m.If(shifts):
                m.d.sync += result[-1].eq(Mux(left, x[0], x[-1]))
        return result

    def _shift(self, m: Module, name: str, x: Value, y: Value) -> tuple[Value, Value]:
        """SHR without its ends, the first part registered: which bits are of ``x``, and ``x`` in its new place.

        First ``x`` moves by less than ``GROUP`` bits, and the ends are replaced in the highest group. Then groups move,
        and those that came around are wrong as a whole: in a shift to the left, those that did not. MIN and MAX leave
        ``x`` where it is, and take all of it or nothing.
        """
        width, groups = self._width, self._width // GROUP
        bits, low = width.bit_length() - 1, GROUP.bit_length() - 1
        moved = Signal(width, name=f"moved{name}", reset_less=True)
        place = Signal(bits - low, name=f"place{name}", reset_less=True)
        left, nothing = (Signal(name=f"{n}{name}", reset_less=True) for n in ("left", "nothing"))
        shifts = self._is[AluOp.SHR]
        fine, negative = y[:low] & shifts.replicate(low), y[-1] & shifts
        fill = x[-1] & ~negative
        for bit, value in enumerate(_rotated(x, fine, 1)):
            around = fine >= width - bit if bit >= width - GROUP else Const(0, 1)
            end = around ^ negative if bit >= width - GROUP else Const(0, 1)
            m.d.sync += moved[bit].eq(Mux(end, fill, value))
        beyond = (y[bits:-1] != y[-1].replicate(width - bits - 1)) | (y[-1] & ~y[:bits].any())
        less = x.as_signed() < y.as_signed()
        takes = (self._is[AluOp.MIN] & less) | (self._is[AluOp.MAX] & ~less)
        m.d.sync += [
            place.eq(Mux(shifts, y[low:bits], 0)),
            left.eq(negative),
            nothing.eq(Mux(shifts, beyond, ~takes)),
        ]
        kept = Cat(
            (~nothing & Mux(left, group + place >= groups - 1, group + place < groups)).replicate(GROUP)
            for group in range(groups)
        )
        return kept, _rotated(moved, place, GROUP)


def _rotated(value: Value, places: Value, unit: int) -> Value:
    """``value`` rotated to the right by ``places`` units of ``unit`` bits, stage by stage."""
    result = value
    for stage in range(len(places)):
        result = Mux(places[stage], result.rotate_right(unit << stage), result)
    return result
