"""The burst generator: bursts cover their rows once, in order, and keep AXI's rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Signal
from prover import Bench
from vta_hw.burst import BurstGenerator

ADDR_WIDTH, SIZE_WIDTH = 32, 24
PAGE_BITS = 12


@pytest.mark.parametrize("bus", [4, 8, 64])
def test_bursts(bus: int, tmp_path: Path) -> None:
    beats = 16
    dut = BurstGenerator(addr_width=ADDR_WIDTH, bus_bytes=bus, size_width=SIZE_WIDTH, max_beats=beats)
    bench = Bench(dut)
    m, log_bus = bench.m, bus.bit_length() - 1
    row, burst = dut.row, dut.burst
    bench.free(row.valid, row.payload, burst.ready)
    final = Signal(ADDR_WIDTH + 1)
    m.d.comb += final.eq(row.payload.addr + row.payload.size - 1)
    bench.assume(~row.valid | (row.payload.size != 0))
    bench.assume(~final[-1])

    # Model: the bus words of the accepted row that are still to be covered.
    width = ADDR_WIDTH - log_bus
    word, last, after = Signal(width), Signal(width), Signal(width + 1)
    is_open = Signal()
    addr, length = burst.payload.addr, burst.payload.len
    m.d.comb += after.eq(word + length + 1)
    with m.If(burst.valid & burst.ready):
        m.d.sync += [word.eq(after), is_open.eq(after <= last)]
    with m.If(row.valid & row.ready):
        m.d.sync += [word.eq(row.payload.addr >> log_bus), last.eq(final >> log_bus), is_open.eq(1)]

    bench.check(bench.stable(burst.valid, burst.ready, burst.payload, "burst"))
    bench.check(burst.valid == is_open)
    bench.check(~row.ready | ~is_open | (burst.ready & (after > last)))
    with m.If(burst.valid):
        bench.check(length < beats)
        bench.check(addr == word << log_bus)
        bench.check((length == beats - 1) | (after[: beats.bit_length() - 1] == 0) | (after == last + 1))
        bench.check(after <= last + 1)
        # The last byte lies in the page of the first.
        bench.check((after - 1)[PAGE_BITS - log_bus :] == word[PAGE_BITS - log_bus :])
        bench.check(word <= last)
        span_width = max(SIZE_WIDTH, log_bus + 4) + 1 - log_bus
        bench.check(bench.probe(span_width, "span") == last - (word & -beats))
        bench.check(bench.probe(width, "word") == word)
    bench.reached(burst.valid & burst.ready & (length == beats - 1) & (after <= last))
    bench.reached(burst.valid & burst.ready & (length == 2) & (after > last) & (after[0]))
    bench.prove(tmp_path, depth=2, induction=True, cover_depth=4)
