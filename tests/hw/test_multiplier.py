"""The half-word multiplier against Python's integers."""

from __future__ import annotations

import random

import pytest
from bench import simulate
from vta_hw.multiplier import LowMultiplier

LATENCY = 5


@pytest.mark.parametrize("width", [16, 32])
def test_low_half_of_the_product(width: int) -> None:
    dut = LowMultiplier(width)
    rng = random.Random(width)
    mask = (1 << width) - 1
    corners = [0, 1, mask, 1 << (width - 1), mask >> 1]
    pairs = [(a, b) for a in corners for b in corners]
    pairs += [(rng.getrandbits(width), rng.getrandbits(width)) for _ in range(50)]

    async def bench(ctx: object) -> None:
        for left, right in pairs:
            ctx.set(dut.left, left)
            ctx.set(dut.right, right)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(LATENCY - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
            assert ctx.get(dut.done)
            assert ctx.get(dut.product) == left * right & mask
            await ctx.tick()

    simulate(dut, bench)
