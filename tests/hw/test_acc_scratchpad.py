"""The accumulators' memory: writers of whole vectors, of parts and of granules, each in its bank."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from vta_arch.isa import ACC_BANKS
from vta_hw.scratchpad import AccScratchpad

BITS, DEPTH, GRANULES = 32, 8, 4
WRITERS = {1: 4, 2: 4, 4: 3}
"""Writers for each number of parts: the first ones write all, the last but one a part, the last one any granules."""


def random_mask(rng: random.Random, writer: int, writers: int, parts: int) -> int:
    """What a writer may write in a cycle."""
    if writer == writers - 1:
        return rng.getrandbits(GRANULES)
    if writer < writers - 2:
        return (1 << GRANULES) - 1
    span = GRANULES // parts
    return (1 << span) - 1 << span * rng.randrange(parts)


@pytest.mark.parametrize("parts", WRITERS)
def test_writers_share_the_banks(parts: int) -> None:
    """Up to one writer a bank and cycle; the others offer data and addresses that must not matter."""
    writers, bank_depth = WRITERS[parts], DEPTH // ACC_BANKS
    dut = AccScratchpad(bits=BITS, depth=DEPTH, granules=GRANULES, readers=1, writers=writers, parts=parts)
    rng = random.Random(parts)
    model = [[0] * GRANULES for _ in range(DEPTH)]
    lane = BITS // GRANULES

    async def bench(ctx: Any) -> None:
        for _ in range(200):
            chosen = rng.sample(range(writers), ACC_BANKS)
            for number, port in enumerate(dut.write):
                active = number in chosen and rng.random() < 0.8
                bank = chosen.index(number) if number in chosen else rng.randrange(ACC_BANKS)
                addr, data = bank * bank_depth + rng.randrange(bank_depth), rng.getrandbits(BITS)
                mask = random_mask(rng, number, writers, parts) if active else 0
                ctx.set(port.mask, mask)
                ctx.set(port.addr, addr)
                ctx.set(port.data, data)
                for granule in range(GRANULES):
                    if mask >> granule & 1:
                        model[addr][granule] = data >> granule * lane & (1 << lane) - 1
            await ctx.tick()
        for port in dut.write:
            ctx.set(port.mask, 0)
        ctx.set(dut.read[0].en, 1)
        for addr in range(DEPTH):
            ctx.set(dut.read[0].addr, addr)
            await ctx.tick()
            found = ctx.get(dut.read[0].banks[addr // bank_depth])
            assert found == sum(value << n * lane for n, value in enumerate(model[addr]))

    simulate(dut, bench, 400)
