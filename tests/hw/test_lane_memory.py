"""Scratchpads with several lanes and taps against a list of elements."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from vta_hw.lane_memory import LaneMemory

BITS = 8
SHAPES = {
    "one-lane": {"depth": 16, "lanes": 1, "taps": 4},
    "chunks": {"depth": 16, "lanes": 1, "taps": 4, "granules": 4},
    "fewer-lanes": {"depth": 32, "lanes": 2, "taps": 4},
    "as-many-lanes": {"depth": 16, "lanes": 4, "taps": 4},
    "more-lanes": {"depth": 32, "lanes": 8, "taps": 4},
    "one-tap": {"depth": 16, "lanes": 4, "taps": 1},
    "two-taps": {"depth": 8, "lanes": 1, "taps": 2},
    "as-deep-as-taps": {"depth": 4, "lanes": 2, "taps": 4},
    "more-taps-than-elements": {"depth": 2, "lanes": 1, "taps": 4},
}


@pytest.mark.parametrize("name", SHAPES)
def test_any_alignment(name: str) -> None:
    """Writes of up to ``lanes`` elements from any address on, and reads of ``taps`` elements."""
    shape = SHAPES[name]
    depth, lanes, taps, granules = (shape.get(key, 1) for key in ("depth", "lanes", "taps", "granules"))
    dut = LaneMemory(bits=BITS, **shape)
    rng = random.Random(4)
    contents = [0] * depth

    def write(ctx: Any) -> None:
        addr, count = rng.randrange(depth), rng.randint(0, lanes)
        mask = data = 0
        for place in range(addr, addr + count):
            value, lane = rng.randrange(1 << BITS), place % lanes
            chosen = rng.randrange(1 << granules) if granules > 1 else 1
            mask |= chosen << (lane * granules)
            data |= value << (lane * BITS)
            unit = BITS // granules
            kept = sum(((1 << unit) - 1) << (n * unit) for n in range(granules) if chosen >> n & 1)
            contents[place % depth] = contents[place % depth] & ~kept | value & kept
        ctx.set(dut.write.addr, addr)
        ctx.set(dut.write.mask, mask)
        ctx.set(dut.write.data, data)

    async def bench(ctx: Any) -> None:
        for _ in range(200):
            addr = rng.randrange(depth)
            ctx.set(dut.read.addr, addr)
            ctx.set(dut.read.en, 1)
            # A read sees what was written up to the cycle before.
            expected = sum(contents[(addr + tap) % depth] << (tap * BITS) for tap in range(taps))
            write(ctx)
            await ctx.tick()
            ctx.set(dut.read.en, 0)
            assert ctx.get(dut.read.data) == expected
            ctx.set(dut.read.addr, rng.randrange(depth))
            ctx.set(dut.write.mask, 0)
            await ctx.tick()
            assert ctx.get(dut.read.data) == expected

    simulate(dut, bench)
