"""The queues of instructions, elements and owners: each word comes out once, in order, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Signal
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from prover import Bench

WIDTH = 1
"""The queues treat all bits of a word alike."""


@pytest.mark.parametrize(("kind", "depth"), [(SyncFIFO, 2), (SyncFIFO, 3), (SyncFIFOBuffered, 3)])
def test_a_tagged_word_keeps_its_place(kind: type[SyncFIFO], depth: int, tmp_path: Path) -> None:
    """Any one word is tagged as it goes in: it leaves after the words before it, and none before that."""
    dut = kind(width=WIDTH, depth=depth)
    bench = Bench(dut)
    m = bench.m
    bench.free(dut.w_en, dut.w_data, dut.r_en)
    tag = Signal()
    bench.free(tag)
    written, read = dut.w_en & dut.w_rdy, dut.r_en & dut.r_rdy
    held, ahead = Signal(range(depth + 2)), Signal(range(depth + 2))
    waiting, done, word = Signal(), Signal(), Signal(WIDTH)
    m.d.sync += held.eq(held + written - read)
    with m.If(tag & written & ~waiting & ~done):
        m.d.sync += [waiting.eq(1), word.eq(dut.w_data), ahead.eq(held - read)]
    with m.Elif(waiting & read):
        m.d.sync += ahead.eq(ahead - 1)
        with m.If(ahead == 0):
            m.d.sync += [waiting.eq(0), done.eq(1)]
    bench.check(held <= depth)
    bench.check(~dut.r_rdy | (held != 0))
    bench.check(~(waiting & (ahead == 0) & dut.r_rdy) | (dut.r_data == word))
    bench.check((held == depth) | dut.w_rdy)
    bench.reached(done & (held == depth))
    bench.prove(tmp_path, depth=2 * depth + 3)
