"""What the ALU does with two vectors of accumulators."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.isa import AluOp

from .held import held_unless
from .multiplier import LowMultipliers
from .twins import chosen_in_turns, rotated, twins_of

FINE_BITS = 2
"""Bits of a shift's amount that its first stage uses: one LUT of six inputs a bit."""
GROUP = 1 << FINE_BITS
"""Bits that it moves together in the second stage."""


class AluLanes(wiring.Component):
    """out = op(x, y) in each of ``lanes`` lanes of ``width`` bits (16 or 32), signed.

    Latency: ``LATENCY`` cycles, for MUL ``MUL_LATENCY``. Throughput: one a cycle, for MUL one in ``MUL_INTERVAL``
    cycles; ``start`` marks the first cycle of its operands, see :class:`LowMultipliers`. ``op`` is set a cycle before
    the first operands and stays until the last result. ``fine`` are twins, see :mod:`.twins`: the lowest ``FINE_BITS``
    bits of each lane's ``y`` for SHR, 0 for another operation. Without ``works``, needed from two cycles before the
    first operands to the last result, all but the multipliers holds still.

    Shifts rotate to the right by the low bits of the signed amount, which is right for both directions; what came
    around the end is replaced. The same multiplexer chooses for MIN and MAX.
    """

    LATENCY = 2
    MUL_LATENCY = LowMultipliers.LATENCY + 1
    MUL_INTERVAL = LowMultipliers.INTERVAL

    def __init__(self, *, width: int, lanes: int) -> None:
        self._width, self._lanes = width, lanes
        words = width * lanes
        super().__init__(
            {
                "op": In(AluOp),
                "start": In(1),
                "works": In(1, init=1),
                "x": In(words),
                "y": In(words),
                "fine": In(FINE_BITS * lanes).array(2),
                "out": Out(words),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.mul = mul = LowMultipliers(width=self._width, lanes=self._lanes)
        m.d.comb += [
            mul.enable.eq(self.op == AluOp.MUL),
            mul.start.eq(self.start),
            mul.left.eq(self.x),
            mul.right.eq(self.y),
        ]
        # Not the multipliers: their sums have a reset, which hardware multipliers take only without such an enable.
        rest = Module()
        m.submodules.rest = held_unless(m, self.works)(rest)
        self._elaborate_rest(rest, mul.product)
        return m

    def _elaborate_rest(self, m: Module, products: Value) -> None:
        """All but the multipliers."""
        width = self._width
        self._is = {op: Signal(name=f"is_{op.name}", reset_less=True) for op in AluOp}
        m.d.sync += [executed.eq(self.op == op) for op, executed in self._is.items()]
        for lane in range(self._lanes):
            x, y, product = (value.word_select(lane, width) for value in (self.x, self.y, products))
            # Products are zero while another operation is executed, and the rest is while MUL is.
            rest = self._simple(m, f"{lane}", x, y)
            first, second = (fine.word_select(lane, FINE_BITS) for fine in self.fine)
            kept, shifted = self._shift(m, f"{lane}", x, y, (first, second))
            m.d.sync += self.out.word_select(lane, width).eq((shifted & kept) | (rest & ~kept) | product)

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

    def _shift(self, m: Module, name: str, x: Value, y: Value, fine: tuple[Value, Value]) -> tuple[Value, Value]:
        """SHR without its ends, the first part registered: which bits are of ``x``, and ``x`` in its new place.

        First ``x`` moves by less than ``GROUP`` bits, and the ends are replaced in the highest group. Then groups move,
        and those that came around are wrong as a whole: in a shift to the left, those that did not. MIN and MAX leave
        ``x`` where it is, and take all of it or nothing.
        """
        width, groups = self._width, self._width // GROUP
        bits = width.bit_length() - 1
        moved = Signal(width, name=f"moved{name}", reset_less=True)
        left, nothing = (Signal(name=f"{n}{name}", reset_less=True) for n in ("left", "nothing"))
        shifts = self._is[AluOp.SHR]
        negative = y[-1] & shifts
        fill = x[-1] & ~negative
        value = chosen_in_turns([x.rotate_right(n) for n in range(GROUP)], fine, 1)
        around = [fine[0] >= GROUP - bit for bit in range(GROUP)]
        top = Cat(Mux(end ^ negative, fill, bit) for end, bit in zip(around, value[-GROUP:], strict=True))
        beyond = (y[bits:-1] != y[-1].replicate(width - bits - 1)) | (y[-1] & ~y[:bits].any())
        less = x.as_signed() < y.as_signed()
        takes = (self._is[AluOp.MIN] & less) | (self._is[AluOp.MAX] & ~less)
        place = twins_of(m, Mux(shifts, y[FINE_BITS:bits], 0), f"place{name}")
        m.d.sync += [
            moved.eq(Cat(value[:-GROUP], top)),
            left.eq(negative),
            nothing.eq(Mux(shifts, beyond, ~takes)),
        ]
        # Whether ``place`` is below a number is one of its values or another: so no adder is made for three bits.
        below = [Cat(place[0] == lower for lower in range(number)).any() for number in range(groups + 1)]
        kept = Cat(
            (~nothing & Mux(left, ~below[groups - 1 - group], below[groups - group])).replicate(GROUP)
            for group in range(groups)
        )
        return kept, rotated(moved, place, GROUP)
