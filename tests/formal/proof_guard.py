"""The last stage before the bus: AXI's handshakes, and the DMA window, whatever happens inside and in a reset."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Mux, Signal, Value
from prover import Bench
from vta_arch.config import VTAConfig
from vta_hw.guard import LOG_PAGE, MAX_OUTSTANDING_READS, MAX_OUTSTANDING_WRITES, BusGuard
from vta_sim.random_configs import sized_config


def _config() -> VTAConfig:
    return sized_config(name="proof", log_uop=5, log_inp=5, log_wgt=5, log_acc=5, axi_data_width=32)


def _bench() -> tuple[Bench, BusGuard]:
    """Inside, anything may happen in any cycle; only no burst crosses a page, as the burst generator promises."""
    dut = BusGuard(_config())
    bench = Bench(dut)
    inner, outer = dut.inner_read, dut.read
    bench.free(dut.drain, dut.inner_client)
    bench.free(inner.ar.valid, inner.ar.payload, inner.r.ready, outer.ar.ready, outer.r.valid, outer.r.payload)
    inner_write, write = dut.inner_write, dut.write
    bench.free(inner_write.aw.valid, inner_write.aw.payload, inner_write.w.valid, inner_write.w.payload)
    bench.free(inner_write.b.ready, write.aw.ready, write.w.ready, write.b.valid, write.b.payload)
    base, limit = bench.choice(64, "base"), bench.choice(64, "limit")
    bench.m.d.comb += [dut.base.eq(base), dut.limit.eq(limit)]
    for port in (inner.ar, inner_write.aw):
        bench.assume(port.payload.addr[:LOG_PAGE] + ((port.payload.len + 1) << 2) <= 1 << LOG_PAGE)
        bench.assume(port.payload.len < 16)
    return bench, dut


def _count(bench: Bench, name: str, begins: Value, ends: Value, limit: int) -> Signal:
    """Bursts under way; the memory ends none that was not begun."""
    count = Signal(range(limit + 2), name=name)
    bench.m.d.sync += count.eq(count + begins - ends)
    bench.assume(~ends | (count != 0))
    bench.check(count <= limit)
    return count


def test_addresses_are_stable_and_inside_the_window(tmp_path: Path) -> None:
    bench, dut = _bench()
    read, write = dut.read, dut.write
    for name, port in (("ar", read.ar), ("aw", write.aw)):
        bench.check(bench.stable(port.valid, port.ready, port.payload, name))
        first = Value.cast(port.payload.addr)
        last = Signal(64, name=f"{name}_last")
        bench.m.d.comb += last.eq(first + ((port.payload.len + 1) << 2) - 1)
        # Both bounds are pages; a limit of 0 is no limit.
        page, end = dut.base[LOG_PAGE:] << LOG_PAGE, dut.limit[LOG_PAGE:] << LOG_PAGE
        bench.check(~port.valid | ((first >= page) & ((end == 0) | (last < end))))
        bench.check(~port.valid | (first[LOG_PAGE:] == last[LOG_PAGE:]))
        bench.check(bench.probe(1, f"{name}_pending") | ~port.valid)
        held = bench.probe(len(Value.cast(port.payload)), f"{name}_payload")
        inside = bench.probe(1, f"{name}_inside") & bench.probe(1, f"{name}_pending")
        start, length = held[: len(first)], held[len(first) :]
        bench.check(~inside | ((start >= page) & ((end == 0) | (start + ((length + 1) << 2) - 1 < end))))
        bench.check((start[:LOG_PAGE] + ((length + 1) << 2) <= 1 << LOG_PAGE) | ~inside)
        bench.reached(port.valid & ~port.ready & dut.drain)
    reads = _count(
        bench,
        "reads",
        read.ar.valid & read.ar.ready,
        read.r.valid & read.r.ready & read.r.payload.last,
        MAX_OUTSTANDING_READS,
    )
    writes = _count(
        bench, "writes", write.aw.valid & write.aw.ready, write.b.valid & write.b.ready, MAX_OUTSTANDING_WRITES
    )
    bench.check(bench.probe(reads.shape().width, "open_bursts") == reads)
    bench.check(bench.probe(writes.shape().width, "unanswered") == writes)
    bench.check(~dut.idle | ((reads == 0) & (writes == 0)))
    bench.reached(dut.read_outside)
    bench.prove(tmp_path, depth=3, induction=True, cover_depth=6)


def test_write_bursts_are_whole(tmp_path: Path) -> None:
    """Data are stable while they wait, follow their address, and have as many beats as it says; one burst tagged."""
    bench, dut = _bench()
    m, aw, w = bench.m, dut.write.aw, dut.write.w
    tag = Signal()
    bench.free(tag)
    sent, given = aw.valid & aw.ready, w.valid & w.ready
    ended = given & w.payload.last
    # Bursts whose address is out and whose data are not; those of them before the tagged one.
    behind, ahead, tagged = Signal(4), Signal(4), Signal()
    length, beats = Signal(8), Signal(8)
    m.d.sync += behind.eq(behind + sent - ended)
    with m.If(tag & sent & ~tagged):
        m.d.sync += [tagged.eq(1), ahead.eq(behind - ended), length.eq(aw.payload.len), beats.eq(0)]
    with m.Elif(tagged & given):
        m.d.sync += [beats.eq(Mux(ahead == 0, beats + 1, 0)), ahead.eq(ahead - (ended & (ahead != 0)))]
        with m.If(ended & (ahead == 0)):
            m.d.sync += tagged.eq(0)
    bench.check(bench.stable(w.valid, w.ready, w.payload, "w"))
    bench.check(~w.valid | (behind != 0))
    bench.check(~(tagged & (ahead == 0) & w.valid) | (w.payload.last == (beats == length)))
    bench.check(~dut.idle | (behind == 0))
    bench.reached(tagged & (ahead == 0) & ended & (length == 2))
    bench.reached(dut.drain & w.valid & ~w.payload.last)
    bench.prove(tmp_path, depth=9)
