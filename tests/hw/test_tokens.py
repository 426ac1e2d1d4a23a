"""A token queue against a counter."""

from __future__ import annotations

import random

from bench import simulate
from vta_arch.isa import TOKEN_LIMIT
from vta_hw.tokens import TokenQueue


def test_counts_every_token() -> None:
    dut = TokenQueue()
    rng = random.Random(0)

    async def bench(ctx: object) -> None:
        count = 0
        for cycle in range(2000):
            push, pop = rng.random() < 0.5, rng.random() < (0.3 if cycle < 1000 else 0.7)
            ctx.set(dut.push, push)
            ctx.set(dut.pop, pop)
            available = bool(ctx.get(dut.available))
            assert available == (count > 0)
            assert not ctx.get(dut.full)
            count += push - (pop and available)
            await ctx.tick()

    simulate(dut, bench)


def test_is_full_at_the_limit_and_loses_nothing() -> None:
    dut = TokenQueue()

    async def bench(ctx: object) -> None:
        ctx.set(dut.push, 1)
        await ctx.tick().repeat(TOKEN_LIMIT + 10)
        assert ctx.get(dut.full)
        ctx.set(dut.push, 0)
        ctx.set(dut.pop, 1)
        for _ in range(TOKEN_LIMIT):
            assert ctx.get(dut.available)
            await ctx.tick()
        assert not ctx.get(dut.available)

    simulate(dut, bench, 3 * TOKEN_LIMIT)
