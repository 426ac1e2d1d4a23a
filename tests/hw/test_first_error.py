"""The smallest index to blame, whatever comes in which order and at once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from vta_arch.registers import NO_INSN
from vta_hw.first_error import FirstError

SOURCES = 5


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_smallest_of_the_first_reports(rate: float) -> None:
    dut = FirstError(SOURCES)
    rng = random.Random(int(rate * 10))

    async def bench(ctx: Any) -> None:
        for _ in range(30):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            assert ctx.get(dut.first) == NO_INSN
            first: dict[int, int] = {}
            for _ in range(rng.randrange(4)):
                for number in range(SOURCES):
                    fault, index = rng.random() < rate, rng.choice([rng.getrandbits(32), rng.randrange(8)])
                    ctx.set(dut.fault[number], fault)
                    ctx.set(dut.index[number], index)
                    if fault:
                        first.setdefault(number, index)
                await ctx.tick()
            for number in range(SOURCES):
                ctx.set(dut.fault[number], 0)
            await ctx.tick().repeat(dut.latency)
            assert ctx.get(dut.first) == min([NO_INSN, *first.values()])

    simulate(dut, bench)
