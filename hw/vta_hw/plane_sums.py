"""Sums of narrow products in logic, one bit of the weights after the other.

A weight is the sum of its bits b times 2^b, the highest one negative. For one bit and a pair of rows the products sum
up to 0, a0, a1 or a0 + a1, as the bits of the two weights say. The three are formed once for all columns, so that each
bit of the choice is a function of five bits; a LUT takes these and does a step of an addition, too. Sums over the
pairs of a group, one for each bit of the weights, are called planes; at last they are added up.

Choices are moved up by 2^I (I: bits of a signed activation) to be non-negative; planes are then too large by 2^I
times the pairs. As x - ~v = x + v + 1, an addition can be a subtraction that adds one more; tools place a subtrahend
where it shares the adder's LUTs, a summand anywhere. The planes' excess E = (2^I * pairs + ones) cancels out, since

    (1 + 2 + ... + 2^(W - 2) - 2^(W - 1)) E = -E

save for once E, of which plane 0 gets the power of two by renaming its highest bit, and the planes get the ones as the
bits of their number: see :func:`subtractions`.
"""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from vta_arch.config import VTAConfig

from .array_operands import ArrayOperands, sum_shape

GROUP_ROWS = 8
"""Most rows of a group, a power of two."""


def subtractions(pairs: int, weight_bits: int) -> list[int]:
    """For each plane, how many of its ``pairs`` - 1 additions are subtractions, so that the ones cancel out.

    With n in the highest plane and n + bit k of n in plane k the sum is n (1 + 2 + ... - 2^(W - 1)) + n = 0.
    The first addition has choices on both sides and gains nothing from being a subtraction.
    """
    common = max(0, pairs - 2)
    if weight_bits == 1:
        return [common]
    common = min(common, (1 << (weight_bits - 1)) - 1)
    return [common + (common >> plane & 1) for plane in range(weight_bits - 1)] + [common]


class Choice(NamedTuple):
    """What a pair of rows can add to a plane, the choice of neither apart: one product, the other, or both."""

    one: Value
    other: Value
    both: Value


class PlaneSums:
    """Builds the sums of one array, of a group of rows and a column each. What columns share is built once."""

    def __init__(self, m: Module, cfg: VTAConfig, operands: ArrayOperands) -> None:
        self._m, self._cfg, self._operands = m, cfg, operands
        self._choices: dict[tuple[int, ...], list[Choice]] = {}
        self._totals: dict[tuple[tuple[int, ...], ...], Value] = {}

    @staticmethod
    def latency(cfg: VTAConfig, rows: int) -> int:
        """Cycles from operands to the sum of a group of so many rows: choices, planes, their sum."""
        return 1 + _stages(-(-rows // 2)) + max(1, (cfg.wgt_width - 1).bit_length())

    def sum(self, row: int, column: int, rows: list[int]) -> Value:
        """The products of ``rows``, a power of two of them, with their weights of ``column``, summed up."""
        cfg, name = self._cfg, f"{row}_{column}_{rows[0]}"
        pairs = [rows[first : first + 2] for first in range(0, len(rows), 2)]
        ones = subtractions(len(pairs), cfg.wgt_width)
        planes = [self._plane(row, column, pairs, bit, ones[bit], f"{name}_{bit}") for bit in range(cfg.wgt_width)]
        if cfg.wgt_width == 1:
            # Weights are 2 b - 1: twice the plane, less its excess and the activations.
            planes = [2 * planes[0] - self._total(row, column, pairs, 2 * ones[0])]
        else:
            if cfg.inp_is_signed:
                planes[0] = Cat(planes[0][:-1], ~planes[0][-1], planes[0][-1])
            planes = self._combined(planes, name)
        result = Signal(sum_shape(cfg, len(rows)), name=f"sum_{name}", reset_less=True)
        self._m.d.sync += result.eq(planes[0])
        return result

    def _plane(self, row: int, column: int, pairs: list[list[int]], bit: int, ones: int, name: str) -> Value:
        """One bit of the weights times the activations, too large by its excess."""
        most = (1 << (self._cfg.inp_width + 1)) - 2
        total: Value = Const(0)
        for number, pair in enumerate(pairs):
            age = max(1, number)
            choice = self._chosen(self._pair(row, column, pair, age), column, pair, bit, age)
            bits = (most * (number + 1) + number).bit_length()
            if number == 0:
                total = choice
            elif number < len(pairs) - ones:
                total = (total + choice)[:bits]
            else:
                total = (total - Cat(~choice, Const(-1, signed(bits))))[:bits]
            if number or len(pairs) == 1:
                total = self._registered(total, f"plane_{name}_{number}")
        return total

    def _chosen(self, choice: Choice, column: int, pair: list[int], bit: int, age: int) -> Value:
        """What the weights take, moved up."""
        cfg = self._cfg
        first, second = (
            self._operands.weight(column, pair[n], age)[bit] if n < len(pair) else Const(0) for n in range(2)
        )
        chosen = Mux(first, Mux(second, choice.both, choice.one), Mux(second, choice.other, 0))
        return chosen[: cfg.inp_width + 1] ^ (1 << cfg.inp_width if cfg.inp_is_signed else 0)

    def _pair(self, row: int, column: int, pair: list[int], age: int) -> Choice:
        """The choice of a pair, so many cycles after its operands."""
        ages = self._choices.setdefault(self._key(row, column, pair), [])
        name = f"{row}_{column}_{pair[0]}"
        if not ages:
            values = [self._operands.value(row, column, index) for index in pair] + [Const(0)]
            ages.append(
                Choice(
                    *(
                        self._registered(v, f"choice_{name}_{n}")
                        for n, v in enumerate((*values[:2], values[0] + values[1]))
                    )
                )
            )
        while len(ages) < age:
            ages.append(
                Choice(*(self._registered(v, f"choice_{name}_{n}_{len(ages)}") for n, v in enumerate(ages[-1])))
            )
        return ages[age - 1]

    def _key(self, row: int, column: int, pair: list[int]) -> tuple[int, ...]:
        """Columns with the same key have the same choice."""
        return (row, *pair, *(self._operands.sharing(column, index) for index in pair))

    def _total(self, row: int, column: int, pairs: list[list[int]], excess: int) -> Value:
        """The sum of the activations, and the excess of twice a plane, when the plane is complete."""
        key = tuple(self._key(row, column, pair) for pair in pairs)
        if key not in self._totals:
            moved = len(pairs) << (self._cfg.inp_width + 1) if self._cfg.inp_is_signed else 0
            total: Value = Const(moved + excess)
            for pair in pairs:
                total = total + self._pair(row, column, pair, 1).both
            for cycle in range(_stages(len(pairs))):
                total = self._registered(total, f"total_{row}_{column}_{pairs[0][0]}_{cycle}")
            self._totals[key] = total
        return self._totals[key]

    def _combined(self, planes: list[Value], name: str) -> list[Value]:
        """The planes, times their powers of two, without the last register."""
        shift = 1
        while True:
            pairs = list(zip(planes[::2], planes[1::2], strict=True))
            sums = [low + (high << shift) for low, high in pairs]
            if shift == 1:
                low, high = pairs[-1]
                sums[-1] = low - (high << 1)
            if len(sums) == 1:
                return sums
            planes = [self._registered(value, f"planes_{name}_{shift}_{n}") for n, value in enumerate(sums)]
            shift *= 2

    def _registered(self, value: Value, name: str) -> Value:
        register = Signal(value.shape(), name=name, reset_less=True)
        self._m.d.sync += register.eq(value)
        return register


def _stages(pairs: int) -> int:
    """Cycles that a plane takes: each addition has a register, for tools build several at once from more LUTs."""
    return max(1, pairs - 1)
