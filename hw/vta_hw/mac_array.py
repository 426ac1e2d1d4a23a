"""The multiplier array: one input vector batch times one weight tile a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig

LEVELS_PER_STAGE = 2
"""Levels of the adder tree between two pipeline registers."""


class MacArray(wiring.Component):
    """psum[b][o] = sum over i of inp[b][i] * wgt[o][i], exact.

    A new pair every cycle; the sums come ``latency`` cycles later. Sums have ``sum_bits`` bits, signed.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        levels = cfg.block_in.bit_length() - 1
        self.latency = 1 + -(-levels // LEVELS_PER_STAGE)
        self.sum_bits = cfg.inp_width + cfg.wgt_width + levels + 1
        super().__init__(
            {
                "inp": In(cfg.inp_elem_bits),
                "wgt": In(cfg.wgt_elem_bits),
                "psum": Out(cfg.batch * cfg.block_out * self.sum_bits),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg = self._cfg
        sums = []
        for row in range(cfg.batch):
            for column in range(cfg.block_out):
                products = []
                for index in range(cfg.block_in):
                    product = Signal(signed(self._product_bits), name=f"p_{row}_{column}_{index}", reset_less=True)
                    m.d.sync += product.eq(self._product(row, column, index))
                    products.append(product)
                sums.append(self._tree(m, products, f"s_{row}_{column}"))
        m.d.comb += self.psum.eq(Cat(total.as_unsigned()[: self.sum_bits] for total in sums))
        return m

    @property
    def _product_bits(self) -> int:
        return self._cfg.inp_width + self._cfg.wgt_width + (0 if self._cfg.inp_is_signed else 1)

    def _product(self, row: int, column: int, index: int) -> Value:
        cfg = self._cfg
        value = self.inp.word_select(row * cfg.block_in + index, cfg.inp_width)
        value = value.as_signed() if cfg.inp_is_signed else value
        weight = self.wgt.word_select(column * cfg.block_in + index, cfg.wgt_width)
        if cfg.wgt_width == 1:
            return Mux(weight, value, -value)
        return value * weight.as_signed()

    def _tree(self, m: Module, values: list[Value], name: str) -> Value:
        """Adds pairwise, with a register every few levels."""
        level = 0
        while len(values) > 1:
            values = [left + right for left, right in zip(values[::2], values[1::2], strict=True)]
            level += 1
            if level % LEVELS_PER_STAGE == 0 or len(values) == 1:
                stage = []
                for index, value in enumerate(values):
                    register = Signal(value.shape(), name=f"{name}_{level}_{index}", reset_less=True)
                    m.d.sync += register.eq(value)
                    stage.append(register)
                values = stage
        width = self.sum_bits
        extended = Signal(signed(width), name=f"{name}_sum")
        m.d.comb += extended.eq(values[0])
        return extended
