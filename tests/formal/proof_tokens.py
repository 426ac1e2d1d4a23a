"""Token queues: none lost, none invented, for the real limit."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Signal
from prover import Bench
from vta_arch.isa import TOKEN_LIMIT
from vta_hw.tokens import TokenQueue


def test_tokens_are_conserved(tmp_path: Path) -> None:
    dut = TokenQueue()
    bench = Bench(dut)
    bench.free(dut.push, dut.pop)
    # Wider than the queue's own counter, so that it would show a wrap.
    tokens = Signal(TOKEN_LIMIT.bit_length() + 1)
    pushed = dut.push & (tokens < TOKEN_LIMIT)
    popped = dut.pop & (tokens > 0)
    bench.m.d.sync += tokens.eq(tokens + pushed - popped)
    bench.check(tokens <= TOKEN_LIMIT)
    bench.check(dut.available == (tokens != 0))
    bench.check(dut.full == (tokens == TOKEN_LIMIT))
    bench.check(bench.probe(TOKEN_LIMIT.bit_length(), "count") == tokens)
    bench.check(bench.probe(TOKEN_LIMIT.bit_length(), "negated") == (-tokens & TOKEN_LIMIT))
    bench.prove(tmp_path, depth=3, induction=True)
