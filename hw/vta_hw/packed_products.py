"""Two products in one hardware multiplier, and their sums inside a chain of multipliers.

The weights w0 and w1 of two columns share the activation a. The multiplier's own adder puts them together in its
wide port, so that one product holds both:

    packed = (w1 << SHIFT) + w0                        W: bits of a weight; SHIFT + W = PORT_BITS - 1
    packed * a = (w1 * a << SHIFT) + w0 * a

A chain of multipliers adds these up over a few rows, and starts from an offset. What it ends with is
(H << SHIFT) + L - OFFSET, H and L the sums of the two columns. L may have R bits more than SHIFT. The lowest R bits
of H, its residue, are computed beside the chain from the lowest bits of weights and activations, by a few gates;
what the total has in their place then shows the missing bits of L. With OFFSET = 2^(SHIFT + R - 1), L - OFFSET is
always negative, so that the rest of H takes at most a carry from there. Nothing is lost for any weight or activation.
"""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from vta_arch.config import VTAConfig

from .array_operands import ArrayOperands
from .depthwise import output_rows

PORT_BITS = 25
"""Signed bits of the multiplier's wide port: DSP48E1; later ones have more."""
CHAIN_ROWS = 4
"""Rows that add up in one chain."""
LEAST_PRODUCT_AREA = 32
"""Products of activation bits times weight bits below this are narrow ones."""


def packs(cfg: VTAConfig) -> bool:
    """Whether the configuration's products go to hardware multipliers in pairs."""
    return cfg.inp_width * cfg.wgt_width >= LEAST_PRODUCT_AREA


class PackedProducts:
    """All products of an array, two neighbouring columns in a multiplier, and their sums in chains."""

    LEVELS_PER_STAGE = 2
    """Levels of the adder tree between two pipeline registers."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._chain = PackedChain(cfg)
        self.latency = self._chain.latency
        """Cycles from the operands to the parts."""
        self.levels = (len(output_rows(cfg)[0]) // self._chain.rows).bit_length() - 1
        """Levels of the adder tree that sums the parts of an output."""

    def parts(self, m: Module, operands: ArrayOperands) -> list[list[list[Value]]]:
        """For each lane, for each output, what must be added up."""
        cfg, chain = self._cfg, self._chain
        lanes: list[list[list[Value]]] = []
        for row in range(cfg.batch):
            early: list[Value] = []
            values: list[Value] = []
            for column in range(0, cfg.block_out, 2):
                if column == 0 or operands.sharing(column, 0):
                    early, values = self._activations(m, operands, row, column)
                pair: list[list[list[Value]]] = [[], []]
                for rows in output_rows(cfg):
                    sums = []
                    for first in rows[:: chain.rows]:
                        weights = [self._weights(operands, column, first, age) for age in range(chain.rows)]
                        chained = [ChainRow(*w, early[first + r], values[first + r]) for r, w in enumerate(weights)]
                        sums.append(chain.sums(m, chained, f"{row}_{column}_{first}"))
                    for half, own in zip(pair, zip(*sums, strict=True), strict=True):
                        half.append(list(own))
                lanes += pair[: cfg.block_out - column]
        return lanes

    def _weights(self, operands: ArrayOperands, column: int, first: int, age: int) -> tuple[Value, Value]:
        """Those of the two columns; 0 for a column that does not exist."""
        low = operands.weight(column, first + age, age)
        return low, operands.weight(column + 1, first + age, age) if column + 1 < self._cfg.block_out else low & 0

    def _activations(
        self, m: Module, operands: ArrayOperands, row: int, column: int
    ) -> tuple[list[Value], list[Value]]:
        """The activations of a pair of columns, as late as their rows, and the same a cycle later."""
        early, values = [], []
        for index in range(self._cfg.block_in):
            value = operands.value(row, column, index, index % self._chain.rows)
            register = Signal(value.shape(), name=f"value_{row}_{column}_{index}", reset_less=True)
            m.d.sync += register.eq(value)
            early.append(value)
            values.append(register)
        return early, values


class ChainRow(NamedTuple):
    """Operands of one multiplier: the bits of the weights ``low`` and ``high`` of the first and the second column, and
    the activation: ``early``, bits in step with the weights, and ``value``, a cycle later."""

    low: Value
    high: Value
    early: Value
    value: Value


class PackedChain:
    """Builds the chains of one array. Row r of a chain works r cycles after row 0, on operands that are as
    much older. Sums come ``latency`` cycles after the operands of row 0."""

    def __init__(self, cfg: VTAConfig) -> None:
        self.rows = min(CHAIN_ROWS, cfg.block_in)
        self.levels = self.rows.bit_length() - 1
        """Levels of the adder tree that a chain replaces."""
        self.latency = self.rows + 3
        """Operand and multiplier registers, one sum a row, split."""
        self.shift = PORT_BITS - 1 - cfg.wgt_width
        self._low_bits = cfg.inp_width + cfg.wgt_width + self.levels
        """Bits of a chain's sum of one column."""
        self.residue_bits = max(0, self._low_bits - self.shift)
        """Lowest bits of the second column's sum that must be known to tell the sums apart."""
        self.offset = 1 << (self.shift + self.residue_bits - 1)
        self.total_bits = self.shift + self._low_bits + 1

    def sums(self, m: Module, rows: list[ChainRow], name: str) -> tuple[Value, Value]:
        """One chain: its sum of the first column, and of the second. Operands are as late as their rows."""
        total: Value = Const(-self.offset, signed(self.total_bits))
        residue: Value = Const(0)
        for number, row in enumerate(rows):
            total = self._multiply_add(m, row, total, f"{name}_{number}")
            residue = self._residue(m, residue, row, f"{name}_{number}")
        for cycle in range(2):  # the multiplier's registers
            # With a reset, so that tools take flip-flops, which are plenty, and not a LUT for each bit's delay.
            residue = self._register(m, residue, f"residue_{name}_late{cycle}", reset_less=False)
        return self._split(m, total, residue, name)

    def _multiply_add(self, m: Module, row: ChainRow, before: Value, name: str) -> Value:
        """``before`` plus both products: a multiplier with its operand, product and sum registers."""
        packed = Signal(signed(PORT_BITS), name=f"packed_{name}", reset_less=True)
        product = Signal((packed * row.value).shape(), name=f"product_{name}", reset_less=True)
        total = Signal(self.total_bits, name=f"total_{name}", reset_less=True)
        m.d.sync += [
            packed.eq(Cat(Const(0, self.shift), row.high).as_signed() + row.low.as_signed()),
            product.eq(packed * row.value),
            # Sums are bits without a sign: they wrap, and the simulator need not extend them.
            total.eq(product + before),
        ]
        return total

    def _residue(self, m: Module, before: Value, row: ChainRow, name: str) -> Value:
        """The lowest bits of the second column's sum, this row included."""
        bits = self.residue_bits
        return self._register(m, (before + row.early[:bits] * row.high[:bits])[:bits], f"residue_{name}")

    def _register(self, m: Module, value: Value, name: str, *, reset_less: bool = True) -> Value:
        register = Signal(self.residue_bits, name=name, reset_less=reset_less)
        m.d.sync += register.eq(value)
        return register

    def _split(self, m: Module, total: Value, residue: Value, name: str) -> tuple[Value, Value]:
        """The two sums that ``total`` holds."""
        low = Signal(signed(self.shift + self.residue_bits), name=f"low_{name}", reset_less=True)
        high = Signal(signed(self._low_bits + 1), name=f"high_{name}", reset_less=True)
        above = total[self.shift :]
        found, rest = above[: self.residue_bits], above[self.residue_bits :]
        below = Cat(total[: self.shift], (found - residue)[: self.residue_bits])
        m.d.sync += [
            low.eq((below ^ self.offset).as_signed()),
            high.eq(Cat(residue, (rest + (residue <= found))[: len(rest)]).as_signed()),
        ]
        return low, high
