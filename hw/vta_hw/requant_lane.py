"""One lane of the requantizer: an accumulator and its channel's parameters in, the requantized value out."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.requant import LIMIT_BITS, MULTIPLIER_BITS, REQ_FIELDS, SHIFT_BITS

from .twins import Twins, chosen_in_turns, twins_of

PORT_BITS = 17
"""Unsigned bits of the multiplier's narrow port, and the shift of its cascade."""
SHIFT_STEPS = (16, 4, 1)
"""Each stage of the shifter moves by 0 to 3 of these: one multiplexer of four for each bit."""
_BIAS_BITS = REQ_FIELDS["bias"].width


class RequantLane(wiring.Component):
    """clip(round_half_even((acc + bias) * multiplier / 2**shift) + zero_point, low, high), or the rounded value
    itself saturated to the accumulator's width (``wide``): exactly as ``vta_arch.requant.requantize``.

    One element a cycle, LATENCY cycles from ``acc``, ``bias``, ``multiplier``, ``shift`` and ``wide`` to ``result``.
    ``zero_point``, ``low`` and ``high`` come LIMITS_AT cycles after the others, and so does ``blank``, which makes the
    result 0. ``low`` must not be above ``high``. There is no back-pressure.

    The sum has 33 bits. Two hardware multipliers form its product with 24 bits, the low half handing its carries on to
    the high one. The shifter keeps one bit below the result, notes whether any lower bit was set, and whether what it
    drops above was more than the sign.
    """

    LATENCY = 10
    LIMITS_AT = 8

    def __init__(self, cfg: VTAConfig) -> None:
        self._width = cfg.acc_width
        super().__init__(
            {
                "acc": In(signed(cfg.acc_width)),
                "bias": In(signed(_BIAS_BITS)),
                "multiplier": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "wide": In(1),
                **{name: In(signed(LIMIT_BITS)) for name in ("zero_point", "low", "high")},
                "blank": In(1),
                "result": Out(signed(cfg.acc_width)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        product = self._multiply(m)
        shifted = _Shifted(Cat(Const(0, 1), product), Const(0), Const(0))
        amount: Value = delayed(m, self.shift, 3)
        for step in SHIFT_STEPS:
            places = twins_of(m, amount[-2:], f"places_{step}")
            amount = delayed(m, amount[:-2], 1)
            # What the later stages can still move down is kept above the result and its half.
            shifted = shifted.moved(places, step, kept=self._width + step).registered(m)
        self._finish(m, shifted, delayed(m, product[-1], len(SHIFT_STEPS)))
        return m

    def _multiply(self, m: Module) -> Value:
        """(acc + bias) * multiplier after four cycles."""
        total = Signal(signed(_BIAS_BITS + 1), reset_less=True)
        factor, late_factor = (Signal(MULTIPLIER_BITS, name=n, reset_less=True) for n in ("factor", "late_factor"))
        late_high = Signal(signed(_BIAS_BITS + 1 - PORT_BITS), reset_less=True)
        low_product, low_sum = (
            Signal(PORT_BITS + MULTIPLIER_BITS, name=n, reset_less=True) for n in ("low_product", "low_sum")
        )
        high_product = Signal(signed(_BIAS_BITS + 1 - PORT_BITS + MULTIPLIER_BITS), reset_less=True)
        high_sum = Signal.like(high_product, name="high_sum", reset_less=True)
        lowest = Signal(PORT_BITS, reset_less=True)
        m.d.sync += [
            # A carry chain also takes its first operand as it is: so the choice that makes ``acc`` needs no LUT.
            total.eq(self.bias + self.acc),
            factor.eq(self.multiplier),
            low_product.eq(total[:PORT_BITS] * factor),
            late_high.eq(total[PORT_BITS:].as_signed()),
            late_factor.eq(factor),
            low_sum.eq(low_product),
            high_product.eq(late_high * late_factor),
            high_sum.eq(high_product + (low_sum >> PORT_BITS)),
            lowest.eq(low_sum),
        ]
        return Cat(lowest, high_sum)

    def _finish(self, m: Module, value: _Shifted, sign: Value) -> None:
        """Three cycles: round, add the zero point, and clamp. ``value`` has the half in its lowest bit."""
        width = self._width
        rounded = Signal(signed(width + 1), reset_less=True)
        # Values outside these bits are clamped whatever the zero point; one bit more holds the carry.
        narrow = LIMIT_BITS + 1
        large = Signal(reset_less=True)
        bits = value.bits
        m.d.sync += [
            rounded.eq(bits[1:].as_signed() + (bits[0] & (value.below | bits[1]))),
            large.eq(value.above | _differ(bits[narrow:])),
        ]
        beyond, sign = delayed(m, value.above, 1), delayed(m, sign, 1)

        # Of the clamped and the saturated value the one that is not wanted is kept at 0 by its registers' resets.
        wide = delayed(m, self.wide, self.LATENCY - 2)
        placed = Signal(signed(narrow + 1), reset_less=True)
        low, high = (Signal(signed(LIMIT_BITS), name=n, reset_less=True) for n in ("lowest", "highest"))
        full = Signal(width, reset_less=True)
        over, under = (Signal(name=n, reset_less=True) for n in ("over", "under"))
        most = (1 << (narrow - 1)) - 1
        small = rounded[: narrow + 1].as_signed()
        saturates = beyond | (rounded[-1] != rounded[-2])
        with m.If(wide):
            m.d.sync += [placed.eq(0), low.eq(0), high.eq(0)]
        with m.Else():
            m.d.sync += placed.eq(self.zero_point + Mux(large, Mux(sign, ~most, most), small))
            m.d.sync += [low.eq(self.low), high.eq(self.high)]
        m.d.sync += [
            full.eq(Mux(wide & ~saturates, rounded, 0)),
            over.eq(wide & saturates & ~sign),
            under.eq(wide & saturates & sign),
        ]

        between = placed[:LIMIT_BITS].as_signed()
        clamped = Mux(placed > high, high, Mux(placed < low, low, between))
        with m.If(delayed(m, self.blank, 1)):
            m.d.sync += self.result.eq(0)
        with m.Else():
            ends = Cat(over.replicate(width - 1), under)
            m.d.sync += self.result.eq(full.as_signed() | ends.as_signed() | clamped)


def delayed(m: Module, value: Value, cycles: int) -> Signal:
    """``value`` as it was ``cycles`` cycles ago (at least one)."""
    for _ in range(cycles):
        register = Signal(len(value), name="delayed", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    assert isinstance(value, Signal)
    return value


@dataclass(frozen=True)
class _Shifted:
    """A signed value on its way through the shifter: whether it had more than the sign ``above`` its ``bits``, and
    whether it lost a set bit ``below``."""

    bits: Value
    above: Value
    below: Value

    def moved(self, twins: Twins, step: int, kept: int) -> _Shifted:
        """Moved down by ``twins`` (0 to 3) times ``step`` and cut to ``kept`` bits."""
        places = twins[0]
        bits, sign = self.bits, self.bits[-1]
        choices = [Cat(bits, sign.replicate(4 * step))[n * step :][:kept] for n in range(4)]
        lost, more = [self.below], [self.above]
        for number in range(3):
            lost.append((places > number) & bits[number * step :][:step].any())
        for number in range(4):
            first = kept - 1 + number * step
            if first < len(bits) - 1:
                segment = bits[first:] if number == 3 else bits[first:][: step + 1]
                more.append((places <= number) & _differ(segment))
        return _Shifted(chosen_in_turns(choices, twins, step), Cat(*more).any(), Cat(*lost).any())

    def registered(self, m: Module) -> _Shifted:
        """The same a cycle later."""
        return _Shifted(*(delayed(m, value, 1) for value in (self.bits, self.above, self.below)))


def _differ(bits: Value) -> Value:
    """Whether the bits are not all the same."""
    return bits.any() & ~bits.all()
