"""The harness itself: it must find what is wrong, and notice a bench that proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from prover import Bench, Disproved
from vta_hw.tokens import TokenQueue


class LosingQueue(TokenQueue):
    """A token queue that loses a token when one comes and goes in the same cycle."""

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        count = Signal(4)
        m.d.comb += [self.full.eq(count.all()), self.available.eq(count != 0)]
        with m.If(self.pop & self.available):
            m.d.sync += count.eq(count - 1)
        with m.Elif(self.push & ~self.full):
            m.d.sync += count.eq(count + 1)
        return m


def _bench(dut: TokenQueue) -> Bench:
    bench = Bench(dut)
    bench.free(dut.push, dut.pop)
    tokens = Signal(5)
    bench.m.d.sync += tokens.eq(tokens + (dut.push & ~dut.full) - (dut.pop & dut.available))
    bench.check(dut.available == (tokens != 0))
    bench.reached(tokens == 2)
    return bench


def test_a_broken_queue_is_found(tmp_path: Path) -> None:
    with pytest.raises(Disproved, match="Assert failed"):
        _bench(LosingQueue()).prove(tmp_path, depth=8)


def test_a_bench_that_assumes_too_much_is_found(tmp_path: Path) -> None:
    dut = TokenQueue()
    bench = _bench(dut)
    bench.assume(~dut.push)
    with pytest.raises(Disproved, match="Unreached cover"):
        bench.prove(tmp_path, depth=8)
