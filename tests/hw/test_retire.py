"""Tokens of the compute unit against a list of what is under way."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from vta_hw.retire import NEIGHBOURS, Retire

ENGINES, DEPTH, MOST = 3, 4, 2


class Model:
    """Instructions by number; a token waits for those in its set."""

    def __init__(self) -> None:
        self.under_way: list[list[int]] = [[] for _ in range(ENGINES)]
        self.tokens: list[list[set[int]]] = [[] for _ in range(NEIGHBOURS)]
        self._number = 0

    def issue(self, engine: int, gives: list[int], one_bank: bool) -> None:
        self._number += 1
        if engine < ENGINES:
            self.under_way[engine].append(self._number)
        own = set(self.under_way[engine]) if engine < ENGINES else set()
        waits = own if one_bank else {number for items in self.under_way for number in items}
        for neighbour, given in enumerate(gives):
            if given:
                self.tokens[neighbour].append(waits)

    def done(self, engine: int) -> None:
        self.under_way[engine].pop(0)

    def ready(self, neighbour: int) -> bool:
        under_way = {number for items in self.under_way for number in items}
        return bool(self.tokens[neighbour]) and not self.tokens[neighbour][0] & under_way


@pytest.mark.parametrize("slow", [0.5, 0.02])
def test_every_token_comes_when_its_instructions_are_done(slow: float) -> None:
    """One engine is slow: while a token waits for it, the others complete any number of instructions."""
    dut = Retire(engines=ENGINES, depth=DEPTH)
    rng = random.Random(3)

    async def bench(ctx: Any) -> None:
        model, given = Model(), 0
        for _ in range(4000):
            full = [rng.random() < 0.1 for _ in range(NEIGHBOURS)]
            ctx.set(dut.full, sum(bit << n for n, bit in enumerate(full)))
            for neighbour in range(NEIGHBOURS):
                pushed = ctx.get(dut.push) >> neighbour & 1
                assert pushed == (model.ready(neighbour) and not full[neighbour])
                if pushed:
                    model.tokens[neighbour].pop(0)
                    given += 1
            assert ctx.get(dut.active) == any(model.under_way)
            done = [bool(items) and rng.random() < (slow if e == 0 else 0.5) for e, items in enumerate(model.under_way)]
            ctx.set(dut.done, sum(bit << e for e, bit in enumerate(done)))
            engine, gives = rng.randrange(ENGINES + 1), [int(rng.random() < 0.3) for _ in range(NEIGHBOURS)]
            fits = engine == ENGINES or len(model.under_way[engine]) < MOST
            issue = bool(ctx.get(dut.room)) and fits and rng.random() < 0.7
            one_bank = engine < ENGINES and rng.random() < 0.5
            for port, value in ((dut.issue, issue), (dut.engine, engine), (dut.one_bank, one_bank)):
                ctx.set(port, int(value))
            ctx.set(dut.gives, sum(bit << n for n, bit in enumerate(gives)))
            for e in range(ENGINES):
                if done[e]:
                    model.done(e)
            if issue:
                model.issue(engine, gives, one_bank)
            await ctx.tick()
        assert given > 100

    simulate(dut, bench)
