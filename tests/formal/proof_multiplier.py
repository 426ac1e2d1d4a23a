"""The multiplier array: several products in one multiplier, and products in logic, are multiplications, for every
weight and activation."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import Component, In, Out
from prover import Bench
from vta_arch.config import VTAConfig
from vta_hw.field_chains import FieldChain
from vta_hw.mac_array import MacArray
from vta_hw.narrow_products import chained_products
from vta_hw.packed_products import PackedChain, packs
from vta_sim.random_configs import sized_config


def _config(block_in: int, inp_width: int, wgt_width: int, *, inp_signed: bool, block_out: int = 2) -> VTAConfig:
    return sized_config(
        name="proof",
        log_uop=5,
        log_inp=5,
        log_wgt=5,
        log_acc=5,
        block_in=block_in,
        block_out=block_out,
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


_NARROW = {
    (4, 4, True): (4, 4),
    (4, 4, False): (4, 4),
    (2, 2, True): (4, 4),
    (8, 2, True): (4, 4),
    (1, 1, False): (8, 8),
}
"""Activation bits, weight bits, sign: rows and columns of an array; a chain of multipliers but for the last one."""
_LOGIC = {(4, 4, True): (2, 1), (4, 4, False): (2, 1), (2, 2, True): (2, 1), (4, 2, True): (2, 1)}
"""The same, with too few rows for a chain."""


@pytest.mark.parametrize(
    ("product", "size", "row"),
    [(*item, row) for item in (*_NARROW.items(), *_LOGIC.items()) for row in range(item[1][0])],
)
def test_narrow_products(product: tuple[int, int, bool], size: tuple[int, int], row: int, tmp_path: Path) -> None:
    """Every activation of one row with every weight of every column, beside rows of zeros (and of weights -1, where
    there is no 0): all that sums consist of."""
    inp_width, wgt_width, inp_signed = product
    cfg = _config(size[0], inp_width, wgt_width, inp_signed=inp_signed, block_out=size[1])
    assert not packs(cfg)
    assert bool(chained_products(cfg)) == (product in _NARROW and size == _NARROW[product] and wgt_width > 1)
    dut = MacArray(cfg)
    bench = Bench(dut)
    m = bench.m
    value = bench.choice(inp_width, "value")
    weights = [bench.choice(wgt_width, f"weight{column}") for column in range(cfg.block_out)]
    m.d.comb += dut.inp.word_select(row, inp_width).eq(value)
    ready = Signal(dut.latency + 1)
    m.d.sync += ready.eq(ready << 1 | 1)
    for column, weight in enumerate(weights):
        m.d.comb += dut.wgt.word_select(column * cfg.block_in + row, wgt_width).eq(weight)
        factor = weight.as_signed() if wgt_width > 1 else Mux(weight, 1, -1)
        wanted = (value.as_signed() if cfg.inp_is_signed else value) * factor
        with m.If(ready[dut.latency - 1]):
            bench.check(dut.psum.word_select(column, dut.sum_bits).as_signed() == wanted)
    bench.reached(ready[dut.latency - 1] & (dut.psum != 0))
    bench.prove(tmp_path, depth=dut.latency + 1, skip=dut.latency)


class _Fields(Component):
    """The end of a chain of narrow products."""

    def __init__(self, chain: FieldChain) -> None:
        self._chain = chain
        super().__init__(
            {
                "total": In(chain.field * chain.fields),
                "sums": Out(signed(chain.field)).array(chain.fields),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.sync += [
            out.eq(v) for out, v in zip(self.sums, self._chain.split(self.total, self._chain.fields), strict=True)
        ]
        return m


@pytest.mark.parametrize(("inp_width", "wgt_width", "inp_signed"), [product for product in _NARROW if product[1] > 1])
def test_fields_of_whole_chains(inp_width: int, wgt_width: int, inp_signed: bool, tmp_path: Path) -> None:
    """All sums that a chain's columns can have are told apart again."""
    cfg = _config(16, inp_width, wgt_width, inp_signed=inp_signed)
    chain = FieldChain(cfg)
    bench = Bench(dut := _Fields(chain))
    sums = [bench.choice(chain.field + 1, f"sum{column}").as_signed() for column in range(chain.fields)]
    products = [a * w for a in (cfg.inp_min, cfg.inp_max) for w in (cfg.wgt_min, cfg.wgt_max)]
    for value in sums:
        bench.assume((value >= chain.ROWS * min(products)) & (value <= chain.ROWS * max(products)))
    start = sum(1 << (chain.field * column + chain.field - 1) for column in range(chain.fields))
    total = sum((value << (chain.field * column) for column, value in enumerate(sums)), Const(start))
    bench.m.d.comb += dut.total.eq(total)
    with bench.m.If(~bench.first):
        for found, value in zip(dut.sums, sums, strict=True):
            bench.check(found == value)
    bench.reached(~bench.first & (sums[0] < 0) & (sums[-1] > 0))
    bench.prove(tmp_path, depth=3)
