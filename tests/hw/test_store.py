"""The store unit: bytes in memory under back-pressure, and tokens that wait for their own responses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, encode, store
from vta_hw.store import StoreUnit
from vta_sim.random_configs import named_configs

BASE = 0x1000


def narrowed(cfg: VTAConfig, value: int) -> bytes:
    """What STORE sends of one accumulator vector: the low bits of each element."""
    mask, packed = (1 << cfg.inp_width) - 1, 0
    for lane in range(cfg.batch * cfg.block_out):
        packed |= (value >> (lane * cfg.acc_width) & mask) << (lane * cfg.inp_width)
    return packed.to_bytes(cfg.out_elem_bytes, "little")


class Target:
    """Accumulators, and a memory that answers writes late; stalls at random."""

    def __init__(self, cfg: VTAConfig, rng: random.Random) -> None:
        self.accumulators = [rng.getrandbits(cfg.acc_elem_bits) for _ in range(cfg.acc_depth)]
        self.written: dict[int, int] = {}
        self.pushed: list[int] = []
        self._rng, self._bus = rng, cfg.axi_data_width // 8
        self._bursts: list[tuple[int, int]] = []
        self._answers: list[int] = []
        self._beat = self._cycle = 0

    def drive(self, ctx: Any, dut: StoreUnit) -> None:
        """Inputs of this cycle."""
        ctx.set(dut.acc_ready, self._rng.random() < 0.8)
        ctx.set(dut.bus.aw.ready, self._rng.random() < 0.5)
        ctx.set(dut.bus.w.ready, self._rng.random() < 0.7)
        ctx.set(dut.bus.b.valid, bool(self._answers) and self._answers[0] <= self._cycle)

    def observe(self, ctx: Any, dut: StoreUnit) -> None:
        """What was transferred; the data of a beat come after its address."""
        bus = dut.bus
        if ctx.get(bus.w.valid & bus.w.ready):
            first, beats = self._bursts[0]
            word, strobes = ctx.get(bus.w.payload.data), ctx.get(bus.w.payload.strb)
            for lane in range(self._bus):
                if strobes >> lane & 1:
                    self.written[first + self._beat * self._bus + lane] = word >> (8 * lane) & 0xFF
            self._beat += 1
            assert ctx.get(bus.w.payload.last) == (self._beat == beats)
            if self._beat == beats:
                self._bursts.pop(0)
                self._beat = 0
                self._answers.append(self._cycle + 20)
        if ctx.get(bus.aw.valid & bus.aw.ready):
            self._bursts.append((ctx.get(bus.aw.payload.addr), ctx.get(bus.aw.payload.len) + 1))
        if ctx.get(bus.b.valid):
            self._answers.pop(0)
        if ctx.get(dut.prev.push):
            self.pushed.append(len(self._bursts) + len(self._answers))
        self._cycle += 1


def random_stores(cfg: VTAConfig, rng: random.Random) -> list[Insn]:
    """Stores to rows that do not overlap; some move nothing."""
    insns, free = [], 0
    for _ in range(6):
        columns, rows = rng.choice([0, 1, 3, rng.randint(1, 20)]), rng.randint(1, 3)
        stride = columns + rng.randint(0, 3)
        shape = {"x_size": columns, "y_size": rows, "x_stride": stride}
        base = rng.randint(0, cfg.acc_depth - columns * rows)
        insns.append(store(cfg, sram_base=base, dram_base=free, push_prev=1, **shape))
        free += stride * rows + rng.randint(0, 3)
    return insns


@pytest.mark.parametrize("name", ["tiny", "int4", "narrow"])
def test_bytes_and_tokens(name: str) -> None:
    cfg = named_configs()[name]
    rng = random.Random(name)
    insns, target = random_stores(cfg, rng), Target(cfg, rng)
    wanted = {}
    for insn in insns:
        for index in range(insn["x_size"] * insn["y_size"]):
            row, column = divmod(index, insn["x_size"])
            at = BASE + (insn["dram_base"] + row * insn["x_stride"] + column) * cfg.out_elem_bytes
            value = narrowed(cfg, target.accumulators[insn["sram_base"] + index])
            wanted |= {at + n: byte for n, byte in enumerate(value)}
    dut = StoreUnit(cfg)
    waiting = [encode(cfg, insn) for insn in insns]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.base, BASE)
        read, bank = 0, 0
        while waiting or not ctx.get(dut.idle):
            ctx.set(dut.insns.valid, bool(waiting))
            ctx.set(dut.insns.payload.insn, waiting[0] if waiting else 0)
            ctx.set(dut.acc.banks[bank], read)
            ctx.set(dut.acc.banks[1 - bank], ~read)
            target.drive(ctx, dut)
            await ctx.delay(1e-9)
            target.observe(ctx, dut)
            if ctx.get(dut.acc.en) and ctx.get(dut.acc_ready):
                addr = ctx.get(dut.acc.addr)
                read, bank = target.accumulators[addr], addr >> (cfg.log_acc_depth - 1)
            if waiting and ctx.get(dut.insns.ready):
                waiting.pop(0)
            await ctx.tick()
        assert not ctx.get(dut.busy)

    simulate(dut, bench, 20_000)
    assert target.written == wanted
    assert len(target.pushed) == len(insns)
    assert target.pushed[-1] == 0
