"""The multiplier array: several products in one multiplier, and products in logic, are multiplications, for every
weight and activation."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Component, In, Out
from prover import Bench
from vta_arch.config import VTAConfig
from vta_hw.array_operands import ArrayOperands
from vta_hw.field_chains import FieldChain
from vta_hw.mac_array import MacArray
from vta_hw.narrow_products import chained_products
from vta_hw.packed_products import PackedChain, packs
from vta_hw.plane_sums import PlaneSums
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


_CHAINED = [(4, 4, True), (4, 4, False), (2, 2, True), (8, 2, True)]
"""Activation bits, weight bits and sign of products of which several share a multiplier."""
_ROWS = 8
"""Rows of a group in logic."""


@pytest.mark.parametrize("row", [0, FieldChain.ROWS - 1])
@pytest.mark.parametrize(("inp_width", "wgt_width", "inp_signed"), _CHAINED)
def test_narrow_products_in_a_chain(inp_width: int, wgt_width: int, inp_signed: bool, row: int, tmp_path: Path) -> None:
    """Every activation of one row of a chain with every weight of all columns, beside rows of zeros."""
    cfg = _config(FieldChain.ROWS, inp_width, wgt_width, inp_signed=inp_signed, block_out=4)
    assert chained_products(cfg) == {(0, 0): cfg.block_out}
    dut = MacArray(cfg)
    bench = Bench(dut)
    m = bench.m
    value = bench.choice(inp_width, "value")
    m.d.comb += dut.inp.word_select(row, inp_width).eq(value)
    ready = Signal(dut.latency + 1)
    m.d.sync += ready.eq(ready << 1 | 1)
    for column in range(cfg.block_out):
        weight = bench.choice(wgt_width, f"weight{column}")
        m.d.comb += dut.wgt.word_select(column * cfg.block_in + row, wgt_width).eq(weight)
        wanted = (value.as_signed() if inp_signed else value) * weight.as_signed()
        with m.If(ready[dut.latency - 1]):
            bench.check(dut.psum.word_select(column, dut.sum_bits).as_signed() == wanted)
    bench.reached(ready[dut.latency - 1] & (dut.psum != 0))
    bench.prove(tmp_path, depth=dut.latency + 1, skip=dut.latency)


class _Planes(Component):
    """The sum of a group of products in logic."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        super().__init__({"inp": In(cfg.inp_elem_bits), "wgt": In(cfg.wgt_elem_bits), "sum": Out(signed(32))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        operands = ArrayOperands(m, self._cfg, inp=self.inp, wgt=self.wgt, mode=Const(0))
        m.d.comb += self.sum.eq(PlaneSums(m, self._cfg, operands).sum(0, 0, list(range(_ROWS))))
        return m


@pytest.mark.parametrize("pair", [0, _ROWS // 2 - 1])
@pytest.mark.parametrize(("inp_width", "wgt_width", "inp_signed"), [*_CHAINED[:3], (4, 2, True), (1, 1, False)])
def test_narrow_products_in_logic(inp_width: int, wgt_width: int, inp_signed: bool, pair: int, tmp_path: Path) -> None:
    """Every two activations of a pair of rows with every two weights, beside activations of zero."""
    cfg = _config(_ROWS, inp_width, wgt_width, inp_signed=inp_signed, block_out=8)
    latency = PlaneSums.latency(cfg, _ROWS)
    bench = Bench(dut := _Planes(cfg))
    m = bench.m
    ready = Signal(latency + 1)
    m.d.sync += ready.eq(ready << 1 | 1)
    wanted: Value = Const(0)
    for row in (2 * pair, 2 * pair + 1):
        value, weight = bench.choice(inp_width, f"value{row}"), bench.choice(wgt_width, f"weight{row}")
        m.d.comb += [
            dut.inp.word_select(row, inp_width).eq(value),
            dut.wgt.word_select(row, wgt_width).eq(weight),
        ]
        factor = Mux(weight, 1, -1) if wgt_width == 1 else weight.as_signed()
        wanted = wanted + (value.as_signed() if cfg.inp_is_signed else value) * factor
    with m.If(ready[latency - 1]):
        bench.check(dut.sum == wanted)
    bench.reached(ready[latency - 1] & (dut.sum > 0))
    bench.prove(tmp_path, depth=latency + 1, skip=latency)


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


@pytest.mark.parametrize(("inp_width", "wgt_width", "inp_signed"), _CHAINED)
def test_fields_of_whole_chains(inp_width: int, wgt_width: int, inp_signed: bool, tmp_path: Path) -> None:
    """All sums that a chain's columns can have are told apart again."""
    cfg = _config(16, inp_width, wgt_width, inp_signed=inp_signed, block_out=8)
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
