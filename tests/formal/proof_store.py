"""The store unit on the bus: handshakes, whole bursts, and as many elements as the STORE has."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data
from prover import Bench
from vta_arch.isa import Opcode
from vta_hw.layouts import insn_layout
from vta_hw.store import StoreUnit
from vta_sim.random_configs import sized_config

PAGE_BITS = 12
ROWS, COLUMNS = 2, 2
LOG_BUS = 2


def _bench() -> tuple[Bench, StoreUnit, data.View]:
    """One arbitrary STORE of a few elements to any place; accumulators and bus answer when they like."""
    cfg = sized_config(name="proof", log_uop=5, log_inp=5, log_wgt=5, log_acc=5, axi_data_width=32)
    dut = StoreUnit(cfg)
    bench = Bench(dut)
    m, bus = bench.m, dut.bus
    payload = Value.cast(dut.insns.payload)
    word = bench.choice(len(payload), "insn")
    issued, offered = Signal(), Signal()
    bench.free(offered, *dut.acc.banks, dut.acc_ready, bus.aw.ready, bus.w.ready, bus.b.valid)
    m.d.comb += [payload.eq(word), dut.insns.valid.eq(offered & ~issued), dut.prev.available.eq(1)]
    m.d.sync += issued.eq(issued | (dut.insns.valid & dut.insns.ready))
    insn = data.View(insn_layout(cfg, Opcode.STORE), dut.insns.payload.insn)
    bench.assume((insn.y_size <= ROWS) & (insn.x_size <= COLUMNS) & (insn.y_size != 0) & (insn.x_size != 0))
    # Around a page's end, rows that do not overlap.
    bench.assume((insn.dram_base < 1 << 11) & (insn.x_stride < 8))
    return bench, dut, insn


def test_bursts_are_whole_and_carry_all_elements(tmp_path: Path) -> None:
    bench, dut, insn = _bench()
    m, aw, w, b = bench.m, dut.bus.aw, dut.bus.w, dut.bus.b
    sent, given = aw.valid & aw.ready, w.valid & w.ready
    ended = given & w.payload.last
    open_bursts, unanswered, beats = Signal(4), Signal(4), Signal(6)
    m.d.sync += [
        open_bursts.eq(open_bursts + sent - ended),
        unanswered.eq(unanswered + ended - (b.valid & b.ready)),
    ]
    bench.assume(~b.valid | (unanswered != 0))
    # Beats announced by addresses and not yet sent; elements sent, each as wide as the bus.
    size = Signal(6)
    m.d.sync += beats.eq(beats + Mux(sent, aw.payload.len + 1, 0) - given)
    m.d.sync += size.eq(size + given)
    bench.check(bench.stable(aw.valid, aw.ready, aw.payload, "aw"))
    bench.check(bench.stable(w.valid, w.ready, w.payload, "w"))
    bench.check(~w.valid | ((open_bursts != 0) & (beats != 0)))
    bench.check(~w.valid | w.payload.strb.all())
    bench.check((open_bursts != 0) | (beats == 0))
    first = aw.payload.addr
    last = Signal(33)
    m.d.comb += last.eq(first + ((aw.payload.len + 1) << LOG_BUS) - 1)
    bench.check(~aw.valid | ((first[:LOG_BUS] == 0) & (first[PAGE_BITS:] == last[PAGE_BITS:32])))
    wanted = Signal(6)
    m.d.comb += wanted.eq(insn.x_size[:2] * insn.y_size[:2])
    bench.check(size <= wanted)
    with m.If(dut.prev.push):
        bench.check((size == wanted) & (unanswered == 0) & (open_bursts == 0))
    bench.reached(dut.prev.push & (wanted == 4))
    bench.prove(tmp_path, depth=9, cover_depth=12)
