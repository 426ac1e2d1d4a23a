"""The half-word multipliers against Python's integers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import halves_swapped, simulate
from vta_hw.multiplier import LowMultipliers


def operands(width: int, lanes: int) -> list[tuple[list[int], list[int]]]:
    """Corners in all combinations, then random words."""
    rng = random.Random(width)
    mask = (1 << width) - 1
    corners = [0, 1, mask, 1 << (width - 1), mask >> 1]
    pairs = [(a, b) for a in corners for b in corners]
    pairs += [(rng.getrandbits(width), rng.getrandbits(width)) for _ in range(50)]
    return [
        (
            [a, *(rng.getrandbits(width) for _ in range(lanes - 1))],
            [b, *(rng.getrandbits(width) for _ in range(lanes - 1))],
        )
        for a, b in pairs
    ]


def word(values: list[int], width: int) -> int:
    return sum(value << (lane * width) for lane, value in enumerate(values))


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("interval", [LowMultipliers.INTERVAL, LowMultipliers.INTERVAL + 1, LowMultipliers.LATENCY])
def test_low_half_of_the_products(width: int, interval: int) -> None:
    """One after the other, as fast as they may follow, and slower."""
    lanes = 2
    dut = LowMultipliers(width=width, lanes=lanes)
    pairs = operands(width, lanes)
    mask = (1 << width) - 1
    due = {
        n * interval + LowMultipliers.LATENCY: word([a * b & mask for a, b in zip(*pair, strict=True)], width)
        for n, pair in enumerate(pairs)
    }

    async def bench(ctx: Any) -> None:
        ctx.set(dut.enable, 1)
        for cycle in range(max(due) + 1):
            turn, phase = divmod(cycle, interval)
            there = turn < len(pairs) and phase < LowMultipliers.INTERVAL
            left, right = pairs[turn] if there else ([mask] * lanes, [mask] * lanes)
            for port, values in ((dut.left, left), (dut.right, right)):
                operand = word(values, width)
                ctx.set(port, halves_swapped(operand, width, lanes) if phase == 1 else operand)
            ctx.set(dut.start, there and phase == 0)
            if cycle in due:
                assert ctx.get(dut.product) == due[cycle]
            await ctx.tick()
        ctx.set(dut.enable, 0)
        await ctx.tick()
        assert ctx.get(dut.product) == 0

    simulate(dut, bench)
