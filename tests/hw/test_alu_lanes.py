"""The ALU's arithmetic against Python's integers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import halves_swapped, simulate
from vta_arch.isa import AluOp
from vta_hw.alu_lanes import FINE_BITS, AluLanes

LANES = 3

BASE_OPS = [op for op in AluOp if op != AluOp.REQ]
"""What the lanes execute."""


def expected(op: AluOp, x: int, y: int, width: int) -> int:
    """One lane, operands signed; the result as bits."""
    amount = min(abs(y), width - 1)
    results = {
        AluOp.MIN: min(x, y),
        AluOp.MAX: max(x, y),
        AluOp.ADD: x + y,
        AluOp.SHR: x << amount if y < 0 else x >> amount,
        AluOp.MUL: x * y,
    }
    return results[op] & ((1 << width) - 1)


def words(width: int, rng: random.Random) -> list[tuple[int, int]]:
    """Pairs of signed words: every amount of a shift, corners, small and large ones."""
    top = 1 << (width - 1)
    corners = [0, 1, -1, top - 1, -top, width, -width, width // 2 - top, 1 - top]
    pairs = [(rng.randrange(-top, top), amount) for amount in range(-width - 2, width + 3)]
    pairs += [(x, y) for x in corners for y in corners]
    return pairs + [(rng.randrange(-top, top), rng.randrange(-top, top) >> rng.randrange(width)) for _ in range(60)]


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("order", [BASE_OPS, [AluOp.MUL, AluOp.SHR, AluOp.MUL, AluOp.MAX, AluOp.ADD]])
def test_every_operation(width: int, order: list[AluOp]) -> None:
    """Operands follow each other as fast as they may, operations as soon as the last result is there."""
    dut = AluLanes(width=width, lanes=LANES)
    rng = random.Random(width)

    def word(values: list[int]) -> int:
        return sum((value & ((1 << width) - 1)) << (lane * width) for lane, value in enumerate(values))

    async def run(ctx: Any, op: AluOp, vectors: list[list[tuple[int, int]]]) -> None:
        interval, latency = (dut.MUL_INTERVAL, dut.MUL_LATENCY) if op == AluOp.MUL else (1, dut.LATENCY)
        wanted = [word([expected(op, x, y, width) for x, y in pairs]) for pairs in vectors]
        ctx.set(dut.op, op)
        await ctx.tick()
        for cycle in range((len(vectors) - 1) * interval + latency + 1):
            turn, phase = divmod(cycle, interval)
            if turn < len(vectors):
                x, y = zip(*vectors[turn], strict=True)
                swaps = op == AluOp.MUL and phase == 1
                for port, values in ((dut.x, x), (dut.y, y)):
                    ctx.set(port, halves_swapped(word(list(values)), width, LANES) if swaps else word(list(values)))
                fine = y if op == AluOp.SHR else ()
                bits = sum(value % (1 << FINE_BITS) << lane * FINE_BITS for lane, value in enumerate(fine))
                for twin in dut.fine:
                    ctx.set(twin, bits)
            ctx.set(dut.start, turn < len(vectors) and phase == 0)
            if cycle >= latency and (cycle - latency) % interval == 0:
                place = (cycle - latency) // interval
                assert ctx.get(dut.out) == wanted[place], (op, vectors[place])
            await ctx.tick()

    async def bench(ctx: Any) -> None:
        for op in order:
            pairs = words(width, rng)
            await run(
                ctx, op, [[pairs[(n + lane * 7) % len(pairs)] for lane in range(LANES)] for n in range(len(pairs))]
            )

    simulate(dut, bench, 20_000)
