"""A loader: it writes the elements of its LOAD and no others, and asks the bus for nothing else."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Signal, Value
from amaranth.lib import data
from prover import Bench
from vta_arch.isa import INSN_BITS, Memory, Opcode
from vta_hw.layouts import insn_layout
from vta_hw.loader import Loader
from vta_sim.random_configs import sized_config

LOG_DEPTH, ELEM_BYTES = 4, 4
ROWS, COLUMNS = 2, 3
"""Sizes up to these, each with up to one of padding at each end, at any place of memory and scratchpad."""


def _bus(bench: Bench, dut: Loader, requested: Signal, taken: Signal) -> None:
    """Model of the memory: one beat for each that was asked for, when it likes."""
    ar, r = dut.bus.ar, dut.bus.r
    bench.free(ar.ready, r.valid, r.payload)
    bench.assume(~r.valid | (taken < requested))
    bench.check(bench.stable(ar.valid, ar.ready, ar.payload, "ar"))
    with bench.m.If(ar.valid & ar.ready):
        bench.m.d.sync += requested.eq(requested + ar.payload.len + 1)
    with bench.m.If(r.valid & r.ready):
        bench.m.d.sync += taken.eq(taken + 1)


def test_one_load(tmp_path: Path) -> None:
    cfg = sized_config(name="proof", log_uop=5, log_inp=LOG_DEPTH, log_wgt=5, log_acc=5, axi_data_width=32)
    dut = Loader(cfg, Memory.INP)
    bench = Bench(dut)
    m = bench.m
    word = bench.choice(INSN_BITS, "insn")
    insn = data.View(insn_layout(cfg, Opcode.LOAD), word)
    start, started = Signal(), Signal()
    bench.free(start)
    m.d.comb += [dut.insn.eq(word), dut.base.eq(0), dut.start.eq(start & ~started)]
    m.d.sync += started.eq(started | (dut.start & dut.ready))
    bench.assume((insn.y_size <= ROWS) & (insn.x_size <= COLUMNS))
    for pad in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"):
        bench.assume(insn[pad] <= 1)
    bench.assume(insn.sram_base < 1 << LOG_DEPTH)
    nothing = (insn.x_size == 0) | (insn.y_size == 0)
    length = (insn.x_size + insn.x_pad_0 + insn.x_pad_1)[:3]
    rows = (insn.y_size + insn.y_pad_0 + insn.y_pad_1)[:3]
    total, beats, requested, taken = (Signal(6, name=name) for name in ("total", "beats", "requested", "taken"))
    m.d.comb += [total.eq(length * rows), beats.eq(insn.x_size[:2] * insn.y_size[:2])]
    _bus(bench, dut, requested, taken)

    # Writes are to consecutive addresses, from the first one on.
    written, select = Signal(6), Value.cast(dut.write.select).any()
    m.d.sync += written.eq(written + select)
    place = Signal(LOG_DEPTH + 3)
    m.d.comb += place.eq(insn.sram_base + written)
    with m.If(select):
        bench.check(started & ~nothing & (written < total))
        bench.check(dut.write.addr == place[:LOG_DEPTH])
        bench.check(dut.range_error == (place >= 1 << LOG_DEPTH))
    with m.If(dut.done):
        bench.check(nothing | (written + select == total))
        bench.check((requested == beats) & (taken == beats) | nothing)
    # Requests: rows of the LOAD in order, a burst never past the end of one.
    address = Value.cast(dut.bus.ar.payload.addr)
    stride = Signal(32)
    m.d.comb += stride.eq(insn.x_stride << 2)
    first = Signal(32)
    m.d.comb += first.eq(insn.dram_base << 2)
    for row in range(ROWS):
        begin, offset = Signal(32, name=f"begin{row}"), Signal(32, name=f"offset{row}")
        m.d.comb += [begin.eq(first + row * stride), offset.eq(address - begin)]
        inside = (offset + ((dut.bus.ar.payload.len + 1) << 2)) <= (insn.x_size << 2)
        within = requested - row * insn.x_size < insn.x_size
        here = (requested >= row * insn.x_size) & within
        bench.check(~(dut.bus.ar.valid & here) | inside)
    bench.check(~dut.bus.ar.valid | (requested < beats))
    bench.reached(dut.done & (total == 12))
    bench.prove(tmp_path, depth=12, cover_depth=20)
