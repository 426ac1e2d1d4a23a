"""Rows cut into bursts: all bytes covered once, no boundary crossed."""

from __future__ import annotations

import random

import pytest
from bench import simulate
from vta_hw.axi import MAX_BURST_BEATS
from vta_hw.burst import BurstGenerator

BOUNDARY = 4096


def expected_words(addr: int, size: int, bus: int) -> list[int]:
    return list(range(addr // bus, (addr + size - 1) // bus + 1))


@pytest.mark.parametrize("bus", [4, 8, 64])
def test_bursts_cover_rows(bus: int) -> None:
    dut = BurstGenerator(addr_width=32, bus_bytes=bus, size_width=20)
    rng = random.Random(bus)
    rows = [(rng.randrange(1 << 20), rng.choice([1, bus, rng.randrange(1, 700)])) for _ in range(30)]
    rows.append((BOUNDARY - 3, 2 * BOUNDARY))

    async def bench(ctx: object) -> None:
        for addr, size in rows:
            ctx.set(dut.row.payload, {"addr": addr, "size": size})
            ctx.set(dut.row.valid, 1)
            await ctx.tick().until(dut.row.ready)
            ctx.set(dut.row.valid, 0)
            wanted = expected_words(addr, size, bus)
            while wanted:
                ctx.set(dut.burst.ready, rng.random() < 0.6)
                await ctx.delay(1e-9)
                if ctx.get(dut.burst.valid & dut.burst.ready):
                    first, beats = ctx.get(dut.burst.payload.addr), ctx.get(dut.burst.payload.len) + 1
                    assert beats <= MAX_BURST_BEATS
                    assert first // BOUNDARY == (first + beats * bus - 1) // BOUNDARY
                    assert [first // bus + n for n in range(beats)] == wanted[:beats]
                    del wanted[:beats]
                await ctx.tick()
            ctx.set(dut.burst.ready, 0)
            assert not ctx.get(dut.burst.valid)

    simulate(dut, bench, 20_000)
