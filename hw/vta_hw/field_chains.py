"""Several narrow products in one hardware multiplier, and their sums inside a chain of multipliers.

The weights w0, w1, ... of neighbouring columns share the activation a. Each takes a field of the multiplier's wide
port; all but the highest are moved up to be non-negative, so that the fields only stand side by side:

    packed = (w0 + M) + (w1 + M << F) + ... + (wn << n * F)         M = 2^(W - 1), W: bits of a weight
    packed * a = the sum of (w * a << its field) + M * a * (1 + (1 << F) + ... )

A chain of multipliers adds these up over ROWS rows. F is as many bits as the signed sum of a column's products needs.
The chain starts from 2^(F - 1) in each field, less M times the sum of the rows' activations in all but the highest:
so that each field ends with its sum plus 2^(F - 1), neither negative nor too large, and holds nothing of another.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from vta_arch.config import VTAConfig

from .array_operands import sum_shape

PORT_BITS = 25
"""Signed bits of the multiplier's wide port: DSP48E1; later ones have more."""


class FieldChain:
    """Builds the chains of one array. Row r of a chain works r cycles after row 0, on operands that are as much
    older. Sums come ``LATENCY`` cycles after the operands of row 0."""

    ROWS = 4
    """Rows that add up in one chain."""
    LATENCY = ROWS + 2
    """Operand and product registers, one sum a row."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._weight_bits = cfg.wgt_width
        self.field = sum_shape(cfg, self.ROWS).width
        """Bits of a field."""
        self.fields = max(0, 1 + (PORT_BITS - cfg.wgt_width) // self.field)
        """Most columns of a chain."""

    def correction(self, m: Module, activations: list[Value], name: str) -> Value:
        """What a moved field of these rows starts from, two cycles later."""
        total = Signal(signed(len(activations[0]) + len(activations).bit_length()), name=f"rows_{name}")
        moved = Signal(self.field, name=f"moved_{name}")
        half = 1 << (self.field - 1)
        m.d.sync += [
            total.eq(sum(activations[1:], activations[0])),
            moved.eq(half - (total << (self._weight_bits - 1))),
        ]
        return moved

    def sums(self, m: Module, moved: Value, weights: list[list[Value]], values: list[Value], name: str) -> list[Value]:
        """The sum of each column. ``weights`` holds the bits of each row's weights, as late as the row; ``values``
        the rows' activations, a cycle later than that; ``moved`` is their :meth:`correction`."""
        columns = len(weights[0])
        total: Value = Cat(*[moved] * (columns - 1), Const(1 << (self.field - 1), self.field))
        for number, (row, value) in enumerate(zip(weights, values, strict=True)):
            packed = Signal(
                signed(self.field * (columns - 1) + self._weight_bits), name=f"packed_{name}_{number}", reset_less=True
            )
            product = Signal((packed * value).shape(), name=f"product_{name}_{number}", reset_less=True)
            product.attrs["use_dsp"] = "yes"
            before, total = total, Signal(self.field * columns, name=f"total_{name}_{number}", reset_less=True)
            m.d.sync += [
                packed.eq(self._packed(row).as_signed()),
                product.eq(packed * value),
                total.eq(product + before),
            ]
        return self.split(total, columns)

    def split(self, total: Value, columns: int) -> list[Value]:
        """The sums that so many fields hold."""
        fields = (total.word_select(column, self.field) for column in range(columns))
        return [(field ^ (1 << (self.field - 1))).as_signed() for field in fields]

    def _packed(self, weights: list[Value]) -> Value:
        gap = Const(0, self.field - self._weight_bits)
        moved = [Cat(weight ^ (1 << (self._weight_bits - 1)), gap) for weight in weights[:-1]]
        return Cat(*moved, weights[-1])
