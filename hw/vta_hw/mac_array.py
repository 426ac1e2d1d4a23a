"""The multiplier array: one input vector batch times one weight tile a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig

from .depthwise import PairSums, taps_read
from .packed_products import ChainRow, PackedChain, packs

LEVELS_PER_STAGE = 2
"""Levels of the adder tree between two pipeline registers."""


class MacArray(wiring.Component):
    """psum[b][o] = sum over i of inp[b][i] * wgt[o][i], exact for every weight and activation.

    A new pair every cycle; the sums come ``latency`` cycles later. Sums have ``sum_bits`` bits, signed.
    Wide products go in pairs to hardware multipliers, see ``packed_products``; narrow ones are logic.

    With the extension ``depthwise`` and the bit of that name, ``inp`` holds the taps, and sums gather over the operands
    that come with ``valid``, anew from ``first`` on: psum is the sum of output 0, and a cycle later ``psum_next`` that
    of output 1. Otherwise, with ``first`` for each pair, ``inp`` holds the vector, and what follows it is ignored.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._chain = PackedChain(cfg) if packs(cfg) else None
        self._deep = "depthwise" in cfg.extensions
        self._outputs = cfg.depthwise_outputs if self._deep else 1
        levels = cfg.block_in.bit_length() - 1
        left = levels - (self._outputs - 1)
        """Levels of the tree of one output."""
        if self._chain is None:
            self.latency = 1 + -(-left // LEVELS_PER_STAGE)
        else:
            self.latency = self._chain.latency + -(-(left - self._chain.levels) // LEVELS_PER_STAGE)
        self._tree_bits = cfg.inp_width + cfg.wgt_width + levels + 1
        self.sum_bits = self._tree_bits
        if self._deep:
            self.latency += PairSums.LATENCY
            self.sum_bits = PairSums.sum_bits(cfg)
        lanes = cfg.batch * cfg.block_out
        ports = {
            "inp": In(cfg.inp_elem_bits * taps_read(cfg)),
            "wgt": In(cfg.wgt_elem_bits),
            "psum": Out(lanes * self.sum_bits),
        }
        if self._deep:
            ports |= {"depthwise": In(1), "first": In(1), "valid": In(1), "psum_next": Out(lanes * self.sum_bits)}
        super().__init__(ports)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        outputs = self._elaborate_packed(m, self._chain) if self._chain else self._elaborate_plain(m)
        if not self._deep:
            m.d.comb += self.psum.eq(Cat(*(sums[0] for sums in outputs)))
            return m
        m.submodules.pair_sums = pairs = PairSums(self._cfg, self._tree_bits, delay=self.latency - PairSums.LATENCY)
        for number, sums in enumerate(pairs.sums):
            m.d.comb += sums.eq(Cat(*(lane[number] for lane in outputs)))
        m.d.comb += [
            pairs.depthwise.eq(self.depthwise),
            pairs.first.eq(self.first),
            pairs.valid.eq(self.valid),
            self.psum.eq(pairs.psum),
            self.psum_next.eq(pairs.psum_next),
        ]
        return m

    def _elaborate_plain(self, m: Module) -> list[list[Value]]:
        """One multiplier a product. For each lane, the sum of each output."""
        cfg = self._cfg
        mode = self.depthwise if self._deep else Const(0)
        lanes = []
        for row in range(cfg.batch):
            for column in range(cfg.block_out):
                products: list[Value] = []
                for index in range(cfg.block_in):
                    product = Signal(self._product_shape, name=f"p_{row}_{column}_{index}", reset_less=True)
                    value = self._operand(self.inp, mode, row, column, index)
                    m.d.sync += product.eq(self._product(value, self._weight(self.wgt, column, index)))
                    products.append(product)
                lanes.append(self._trees(m, products, 1, f"s_{row}_{column}"))
        return lanes

    def _elaborate_packed(self, m: Module, chain: PackedChain) -> list[list[Value]]:
        """One multiplier for two products, of two neighbouring columns. For each lane, the sum of each output."""
        cfg = self._cfg
        lanes = []
        weights, values = chain.late(m, self.wgt, "wgt"), chain.late(m, self.inp, "inp")
        modes = chain.late(m, self.depthwise, "mode") if self._deep else [Const(0)] * chain.rows
        for row in range(cfg.batch):
            for column in range(0, cfg.block_out, 2):
                # Without the extension all pairs have the same operands: one register serves them all.
                if column == 0 or self._deep:
                    early, operands = self._registered(m, chain, values, modes, row, column)
                halves: tuple[list[Value], list[Value]] = ([], [])
                for first in range(0, cfg.block_in, chain.rows):
                    rows = []
                    for index in range(first, first + chain.rows):
                        low, high = (self._weight(weights[index - first], column + n, index) for n in range(2))
                        rows.append(ChainRow(low, high, early[index], operands[index]))
                    for half, value in zip(halves, chain.sums(m, rows, f"{row}_{column}_{first}"), strict=True):
                        half.append(value)
                for n, half in enumerate(halves):
                    lanes.append(self._trees(m, half, chain.rows, f"s_{row}_{column + n}"))
        return lanes

    def _registered(
        self, m: Module, chain: PackedChain, values: list[Value], modes: list[Value], row: int, column: int
    ) -> tuple[list[Value], list[Value]]:
        """The activations of a pair of columns, as late as their rows, and the same a cycle later."""
        early, operands = [], []
        for index in range(self._cfg.block_in):
            age = index % chain.rows
            value = self._operand(values[age], modes[age], row, column, index)
            register = Signal(value.shape(), name=f"value_{row}_{column}_{index}", reset_less=True)
            m.d.sync += register.eq(value)
            early.append(value)
            operands.append(register)
        return early, operands

    @property
    def _product_shape(self) -> Shape:
        return signed(self._cfg.inp_width + self._cfg.wgt_width + (0 if self._cfg.inp_is_signed else 1))

    def _operand(self, vectors: Value, mode: Value, row: int, column: int, index: int) -> Value:
        """The activation that meets weight ``index`` of ``column``."""
        cfg, taps = self._cfg, self._cfg.depthwise_taps
        value = self._value(vectors, row, index)
        if not self._deep:
            return value
        pair, tap = divmod(index, taps)
        used = index < DEPTHWISE_GROUP * taps * self._outputs
        channel = column // DEPTHWISE_GROUP * DEPTHWISE_GROUP + pair % DEPTHWISE_GROUP
        other = self._value(vectors, tap * cfg.batch + row, channel) if used else value & 0
        chosen = Mux(mode, other, value)[: cfg.inp_width]
        return chosen.as_signed() if cfg.inp_is_signed else chosen

    def _value(self, vectors: Value, row: int, index: int) -> Value:
        """One activation."""
        cfg = self._cfg
        value = vectors.word_select(row * cfg.block_in + index, cfg.inp_width)
        return value.as_signed() if cfg.inp_is_signed else value

    def _weight(self, tile: Value, column: int, index: int) -> Value:
        """The bits of one weight."""
        return tile.word_select(column * self._cfg.block_in + index, self._cfg.wgt_width)

    def _product(self, value: Value, weight: Value) -> Value:
        if self._cfg.wgt_width == 1:
            return Mux(weight, value, -value)
        return value * weight.as_signed()

    def _trees(self, m: Module, values: list[Value], rows: int, name: str) -> list[Value]:
        """For each output the sum of those ``values``, each of that many rows, that belong to it.

        Rows that no output of a depthwise step uses are spread evenly.
        """
        used = DEPTHWISE_GROUP * self._cfg.depthwise_taps // rows if self._outputs > 1 else len(values)
        rest = (len(values) - used * self._outputs) // self._outputs
        sums = []
        for output in range(self._outputs):
            beyond = used * self._outputs + rest * output
            own = values[used * output : used * (output + 1)] + values[beyond : beyond + rest]
            sums.append(self._tree(m, own, f"{name}_{output}"))
        return sums

    def _tree(self, m: Module, values: list[Value], name: str) -> Value:
        """Adds pairwise, with a register every few levels; returns ``_tree_bits`` bits."""
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
        extended = Signal(signed(self._tree_bits), name=f"{name}_sum")
        m.d.comb += extended.eq(values[0])
        return extended.as_unsigned()
