"""The multiplier array: two products in one multiplier are two multiplications, for every weight and activation."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import Component, In, Out
from prover import Bench
from vta_arch.config import VTAConfig
from vta_hw.mac_array import MacArray
from vta_hw.packed_products import PackedChain, packs
from vta_sim.random_configs import sized_config


def _config(block_in: int, inp_width: int, wgt_width: int, *, inp_signed: bool) -> VTAConfig:
    return sized_config(
        name="proof",
        log_uop=5,
        log_inp=5,
        log_wgt=5,
        log_acc=5,
        block_in=block_in,
        block_out=2,
        inp_width=inp_width,
        wgt_width=wgt_width,
        inp_signed=inp_signed,
    )


_PARTS = {(8, 8, True): 3, (8, 8, False): 1, (8, 4, True): 0}
"""Upper bits of the activation that are fixed in one run: several small proofs take z3 less time than one."""


@pytest.mark.parametrize(
    ("inp_width", "wgt_width", "inp_signed", "bits", "part"),
    [(*product, bits, part) for product, bits in _PARTS.items() for part in range(1 << bits)],
)
def test_products(inp_width: int, wgt_width: int, inp_signed: bool, bits: int, part: int, tmp_path: Path) -> None:
    """The array with a single row: together the parts are every activation with every pair of weights."""
    cfg = _config(1, inp_width, wgt_width, inp_signed=inp_signed)
    assert packs(cfg)
    dut = MacArray(cfg)
    bench = Bench(dut)
    m = bench.m
    inp, wgt = bench.choice(len(dut.inp), "inp"), bench.choice(len(dut.wgt), "wgt")
    bench.assume(inp >> (inp_width - bits) == part)
    m.d.comb += [dut.inp.eq(inp), dut.wgt.eq(wgt)]
    ready = Signal(dut.latency + 1)
    m.d.sync += ready.eq(ready << 1 | 1)
    for column in range(cfg.block_out):
        weight = wgt.word_select(column, wgt_width).as_signed()
        wanted = (inp.as_signed() if inp_signed else inp) * weight
        with m.If(ready[dut.latency - 1]):
            bench.check(dut.psum.word_select(column, dut.sum_bits).as_signed() == wanted)
    bench.reached(ready[dut.latency - 1] & (dut.psum != 0))
    # The operands never change, so that all later cycles are alike.
    bench.prove(tmp_path, depth=dut.latency + 1, skip=dut.latency)


class _Split(Component):
    """The end of a chain: the two sums of what the chain added up to."""

    def __init__(self, chain: PackedChain) -> None:
        self._chain = chain
        super().__init__(
            {
                "total": In(chain.total_bits),
                "residue": In(chain.residue_bits),
                "low": Out(signed(32)),
                "high": Out(signed(32)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        low, high = self._chain._split(m, self.total, self.residue, "sums")
        m.d.comb += [self.low.eq(low), self.high.eq(high)]
        return m


@pytest.mark.parametrize(("inp_width", "wgt_width", "inp_signed"), _PARTS)
def test_sums_of_whole_chains(inp_width: int, wgt_width: int, inp_signed: bool, tmp_path: Path) -> None:
    """Every pair of sums that a chain of products can have is told apart again."""
    chain = PackedChain(_config(16, inp_width, wgt_width, inp_signed=inp_signed))
    bench = Bench(dut := _Split(chain))
    low, high = (bench.choice(24, name).as_signed() for name in ("low", "high"))
    least, most = (-(1 << inp_width - 1), (1 << inp_width - 1) - 1) if inp_signed else (0, (1 << inp_width) - 1)
    products = [
        value * weight for value in (least, most) for weight in (-(1 << wgt_width - 1), (1 << wgt_width - 1) - 1)
    ]
    for half in (low, high):
        bench.assume((half >= chain.rows * min(products)) & (half <= chain.rows * max(products)))
    bench.m.d.comb += [dut.total.eq((high << chain.shift) + low - chain.offset), dut.residue.eq(high)]
    with bench.m.If(~bench.first):
        bench.check((dut.low == low) & (dut.high == high))
    bench.reached(~bench.first & (low < 0) & (high > 0))
    bench.prove(tmp_path, depth=3)
