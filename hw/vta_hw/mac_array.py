"""The multiplier array: one input vector batch times one weight tile a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig

from .packed_products import PackedChain, packs

LEVELS_PER_STAGE = 2
"""Levels of the adder tree between two pipeline registers."""


class MacArray(wiring.Component):
    """psum[b][o] = sum over i of inp[b][i] * wgt[o][i], exact for every weight and activation.

    A new pair every cycle; the sums come ``latency`` cycles later. Sums have ``sum_bits`` bits, signed.
    Wide products go in pairs to hardware multipliers, see ``packed_products``; narrow ones are logic.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._chain = PackedChain(cfg) if packs(cfg) else None
        levels = cfg.block_in.bit_length() - 1
        if self._chain is None:
            self.latency = 1 + -(-levels // LEVELS_PER_STAGE)
        else:
            self.latency = self._chain.latency + -(-(levels - self._chain.levels) // LEVELS_PER_STAGE)
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
        sums = self._elaborate_packed(m, self._chain) if self._chain else self._elaborate_plain(m)
        m.d.comb += self.psum.eq(Cat(*sums))
        return m

    def _elaborate_plain(self, m: Module) -> list[Value]:
        """One multiplier a product."""
        cfg = self._cfg
        sums = []
        for row in range(cfg.batch):
            for column in range(cfg.block_out):
                products: list[Value] = []
                for index in range(cfg.block_in):
                    product = Signal(self._product_shape, name=f"p_{row}_{column}_{index}", reset_less=True)
                    m.d.sync += product.eq(self._product(row, column, index))
                    products.append(product)
                sums.append(self._tree(m, products, f"s_{row}_{column}"))
        return sums

    def _elaborate_packed(self, m: Module, chain: PackedChain) -> list[Value]:
        """One multiplier for two products, of two neighbouring columns."""
        cfg = self._cfg
        sums = []
        weights, values = chain.late(m, self.wgt, "wgt"), chain.late(m, self.inp, "inp")
        for row in range(cfg.batch):
            activations = [self._value(values[index % chain.rows], row, index) for index in range(cfg.block_in)]
            starts = chain.starts(m, [self._value(self.inp, row, index) for index in range(cfg.block_in)], f"{row}")
            vector = self.inp.word_select(row, cfg.block_in * cfg.inp_width)
            for column in range(0, cfg.block_out, 2):
                pairs = [
                    tuple(self._weight(weights[index % chain.rows], column + n, index) for n in range(2))
                    for index in range(cfg.block_in)
                ]
                tile_row = self.wgt.word_select(column + 1, cfg.block_in * cfg.wgt_width)
                parities = chain.parities(m, vector, tile_row, f"{row}_{column}")
                halves = chain.sums(m, activations, pairs, starts, parities, f"{row}_{column}")
                sums += [self._tree(m, half, f"s_{row}_{column + n}") for n, half in enumerate(halves)]
        return sums

    @property
    def _product_shape(self) -> Shape:
        return signed(self._cfg.inp_width + self._cfg.wgt_width + (0 if self._cfg.inp_is_signed else 1))

    def _value(self, vectors: Value, row: int, index: int) -> Value:
        """One activation."""
        cfg = self._cfg
        value = vectors.word_select(row * cfg.block_in + index, cfg.inp_width)
        return value.as_signed() if cfg.inp_is_signed else value

    def _weight(self, tile: Value, column: int, index: int) -> Value:
        """The bits of one weight."""
        return tile.word_select(column * self._cfg.block_in + index, self._cfg.wgt_width)

    def _product(self, row: int, column: int, index: int) -> Value:
        value = self._value(self.inp, row, index)
        weight = self._weight(self.wgt, column, index)
        if self._cfg.wgt_width == 1:
            return Mux(weight, value, -value)
        return value * weight.as_signed()

    def _tree(self, m: Module, values: list[Value], name: str) -> Value:
        """Adds pairwise, with a register every few levels; returns ``sum_bits`` bits."""
        level = 0
        while len(values) > 1:
            values = [left + right for left, right in zip(values[::2], values[1::2], strict=True)]
            level += 1
            if level % LEVELS_PER_STAGE == 0 or len(values) == 1:
                stage: list[Value] = []
                for index, value in enumerate(values):
                    register = Signal(value.shape(), name=f"{name}_{level}_{index}", reset_less=True)
                    m.d.sync += register.eq(value)
                    stage.append(register)
                values = stage
        extended = Signal(signed(self.sum_bits), name=f"{name}_sum")
        m.d.comb += extended.eq(values[0])
        return extended.as_unsigned()
