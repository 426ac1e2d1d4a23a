"""The instruction stream comes in order, on every bus, and nothing beyond it is read."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bench import simulate
from read_memory import ReadMemory
from vta_arch.isa import INSN_BYTES
from vta_hw.fetch import Fetch
from vta_sim.random_configs import sized_config

ADDRESS = 0x240


@pytest.mark.parametrize("bus_bits", [32, 64, 512])
@pytest.mark.parametrize(("count", "stall"), [(0, 0.0), (1, 0.3), (41, 0.0), (75, 0.4)])
def test_fetches_in_order(bus_bits: int, count: int, stall: float) -> None:
    cfg = sized_config(name="fetch", log_uop=5, log_inp=5, log_wgt=5, log_acc=5, axi_data_width=bus_bits)
    rng = random.Random(f"{bus_bits} {count}")
    ram = ReadMemory(rng.randbytes(1 << 12), bus_bits // 8, latency=20, stall=stall, rng=rng)
    begins = range(ADDRESS, ADDRESS + count * INSN_BYTES, INSN_BYTES)
    wanted = [int.from_bytes(ram.contents[n : n + INSN_BYTES], "little") for n in begins]
    dut = Fetch(cfg)

    async def bench(ctx: Any) -> None:
        found: list[int] = []
        beyond = -(-(ADDRESS + count * INSN_BYTES) // (bus_bits // 8)) * (bus_bits // 8)
        ctx.set(dut.address, ADDRESS)
        ctx.set(dut.count, count)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(60 + count * 10):
            ram.drive(ctx, dut.bus)
            ctx.set(dut.insns.ready, rng.random() >= stall)
            await ctx.delay(1e-9)
            ram.observe(ctx, dut.bus)
            if ctx.get(dut.bus.ar.valid):
                beats = ctx.get(dut.bus.ar.payload.len) + 1
                assert ctx.get(dut.bus.ar.payload.addr) + beats * (bus_bits // 8) <= beyond
            if ctx.get(dut.insns.valid & dut.insns.ready):
                found.append(ctx.get(dut.insns.payload))
            await ctx.tick()
        assert found == wanted
        assert ctx.get(dut.idle)
        assert ctx.get(dut.index) == count

    simulate(dut, bench)
