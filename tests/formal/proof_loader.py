"""A loader: it writes the elements of its LOAD in order and no others, and takes the beats that it asked for."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Signal, Value
from amaranth.lib import data
from prover import Bench
from vta_arch.isa import INSN_BITS, Memory, Opcode
from vta_hw.layouts import insn_layout
from vta_hw.loader import Loader
from vta_sim.random_configs import sized_config

LOG_DEPTH = 5
ROWS, COLUMNS = 2, 2
"""Sizes up to these where the end of a LOAD is looked at, each with up to one of padding at each end."""


class OneLoad:
    """One LOAD, arbitrary and never followed by another, and a memory that answers when it likes."""

    def __init__(self) -> None:
        cfg = sized_config(name="proof", log_uop=5, log_inp=LOG_DEPTH, log_wgt=5, log_acc=5, axi_data_width=32)
        self.dut = dut = Loader(cfg, Memory.INP)
        self.bench = bench = Bench(dut)
        m = bench.m
        word = bench.choice(INSN_BITS, "insn")
        self.insn = data.View(insn_layout(cfg, Opcode.LOAD), word)
        start, self.started = Signal(), Signal()
        bench.free(start)
        m.d.comb += [dut.insn.eq(word), dut.base.eq(0), dut.start.eq(start & ~self.started)]
        m.d.sync += self.started.eq(self.started | (dut.start & dut.ready))
        ar, r = dut.bus.ar, dut.bus.r
        bench.free(ar.ready, r.valid, r.payload)
        self.requested, self.taken = Signal(18), Signal(18)
        bench.assume(~r.valid | (self.taken < self.requested))
        with m.If(ar.valid & ar.ready):
            m.d.sync += self.requested.eq(self.requested + ar.payload.len + 1)
        with m.If(r.valid & r.ready):
            m.d.sync += self.taken.eq(self.taken + 1)
        self.written = Signal(6)
        self.writes = Value.cast(dut.write.select).any()
        m.d.sync += self.written.eq(self.written + self.writes)


def test_addresses_are_consecutive_and_inside(tmp_path: Path) -> None:
    """For LOADs of any size: each write is to the next address, and beyond the memory's end it is reported."""
    load = OneLoad()
    bench, dut = load.bench, load.dut
    depth = 1 << LOG_DEPTH
    place = Signal(18)
    bench.m.d.comb += place.eq(load.insn.sram_base + load.written)
    with bench.m.If(load.writes):
        bench.check(load.started)
        bench.check(dut.write.addr == place[:LOG_DEPTH])
        bench.check(dut.range_error == (place >= depth))
    bench.reached(load.writes & (place == depth + 1) & (load.written != 0))
    bench.prove(tmp_path, depth=11)


def test_a_load_ends_with_its_last_element(tmp_path: Path) -> None:
    load = OneLoad()
    bench, dut, insn, m = load.bench, load.dut, load.insn, load.bench.m
    bench.assume((insn.y_size <= ROWS) & (insn.x_size <= COLUMNS) & (insn.y_size != 0) & (insn.x_size != 0))
    for pad in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"):
        bench.assume(insn[pad] <= 1)
    # Where the elements lie in memory is the burst generator's affair.
    bench.assume((insn.dram_base == 0) & (insn.x_stride == 4))
    total, beats = Signal(6), Signal(6)
    m.d.comb += total.eq(
        (insn.x_size + insn.x_pad_0 + insn.x_pad_1)[:3] * (insn.y_size + insn.y_pad_0 + insn.y_pad_1)[:3]
    )
    m.d.comb += beats.eq(insn.x_size[:2] * insn.y_size[:2])
    bench.check(~load.writes | (load.written < total))
    bench.check(load.requested <= beats)
    with m.If(dut.done):
        bench.check(load.written + load.writes == total)
        bench.check((load.requested == beats) & (load.taken == beats))
    bench.reached(dut.done & (total == 6))
    bench.prove(tmp_path, depth=10, cover_depth=14)
