"""The multiplier array: one input vector batch times one weight tile a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig

from .adder_tree import adder_tree, tree_latency
from .array_operands import ArrayOperands
from .depthwise import PairSums, taps_read
from .narrow_products import NarrowProducts
from .packed_products import PackedProducts, packs


class MacArray(wiring.Component):
    """psum[b][o] = sum over i of inp[b][i] * wgt[o][i], exact for every weight and activation.

    A new pair every cycle; the sums come ``latency`` cycles later. Sums have ``sum_bits`` bits, signed.
    Wide products go in pairs to hardware multipliers, see ``packed_products``; of narrow ones some go to multipliers,
    several together, and some are logic, see ``narrow_products``.

    With the extension ``depthwise`` and the bit of that name, ``inp`` holds the taps, and sums gather over the operands
    that come with ``valid``, anew from ``first`` on: psum is the sum of output 0, and a cycle later ``psum_next`` that
    of output 1. Otherwise, with ``first`` for each pair, ``inp`` holds the vector, and what follows it is ignored.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._products = PackedProducts(cfg) if packs(cfg) else NarrowProducts(cfg)
        self._deep = "depthwise" in cfg.extensions
        self.latency = self._products.latency + tree_latency(self._products.levels, self._products.LEVELS_PER_STAGE)
        self._tree_bits = cfg.inp_width + cfg.wgt_width + cfg.block_in.bit_length()
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
        mode = self.depthwise if self._deep else Const(0)
        operands = ArrayOperands(m, self._cfg, inp=self.inp, wgt=self.wgt, mode=mode)
        lanes = [
            [self._sum(m, values, f"s_{lane}_{number}") for number, values in enumerate(outputs)]
            for lane, outputs in enumerate(self._products.parts(m, operands))
        ]
        if not self._deep:
            m.d.comb += self.psum.eq(Cat(*(sums[0] for sums in lanes)))
            return m
        m.submodules.pair_sums = pairs = PairSums(self._cfg, self._tree_bits, delay=self.latency - PairSums.LATENCY)
        for number, sums in enumerate(pairs.sums):
            m.d.comb += sums.eq(Cat(*(lane[number] for lane in lanes)))
        m.d.comb += [
            pairs.depthwise.eq(self.depthwise),
            pairs.first.eq(self.first),
            pairs.valid.eq(self.valid),
            self.psum.eq(pairs.psum),
            self.psum_next.eq(pairs.psum_next),
        ]
        return m

    def _sum(self, m: Module, values: list[Value], name: str) -> Value:
        """The bits of the sum of an output's parts."""
        extended = Signal(signed(self._tree_bits), name=f"{name}_sum")
        products = self._products
        m.d.comb += extended.eq(adder_tree(m, values, products.levels, products.LEVELS_PER_STAGE, name))
        return extended.as_unsigned()
