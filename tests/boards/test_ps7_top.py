"""The top with the PS7 primitive, in simulation: its model hands S_AXI_HP0 and M_AXI_GP0 to the RTL's memory model."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator, SimulatorContext
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_boards.gp_bridge import Axi3ToLite
from vta_boards.ps7_top import PS7_TOP, Ps7Top, generate_ps7_verilog
from vta_hw.top import top_ports
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, random_stream
from vta_sim.rtl import MemoryModel, RtlDevice

_NOTHING = Const(0)
MODEL = Path(__file__).with_name("ps7_model.v")


def shell(cfg: VTAConfig) -> str:
    """A ``vta_top`` with the accelerator's ports, in which the PS7 top runs."""
    ports = []
    for name, member in top_ports(cfg).items():
        kind = "input" if member.flow == wiring.In else "output"
        ports.append(f"{kind} [{member.shape - 1}:0] {name}" if member.shape > 1 else f"{kind} {name}")
    return f"module vta_top({', '.join(ports)});\n  {PS7_TOP} inner();\nendmodule\n"


def test_a_64_bit_port_is_the_widest() -> None:
    with pytest.raises(ValueError, match="S_AXI_HP0 has 64"):
        Ps7Top(load_preset("kv260"))


def test_streams_agree_behind_the_ps7() -> None:
    """Registers over AXI3 with changing IDs, memory over S_AXI_HP0, under the protocol checker."""
    cfg = load_preset("tiny")
    text = generate_ps7_verilog(cfg) + MODEL.read_text(encoding="utf-8") + shell(cfg)
    reference = FunctionalDevice(cfg)
    memory = MemoryModel(latency=7, backpressure=0.3, seed=5)
    with RtlDevice(cfg, memory, max_cycles=2_000_000, verilog=text) as device:
        for index, flavour in enumerate((*Flavour, *Flavour)):
            case = random_stream(cfg, np.random.default_rng([7, index]), flavour)
            expected, wanted = case.run(reference)
            result, found = case.run(device)
            assert (result.errors, result.status) == (expected.errors, expected.status), case.description
            assert all(map(np.array_equal, found, wanted)), case.description


class Registers:
    """Registers on AXI4-Lite that answer after random pauses: reads are remembered values, addresses below 8 fail."""

    def __init__(self, rng: random.Random) -> None:
        self.values: dict[int, int] = {}
        self._rng = rng

    async def reads(self, ctx: SimulatorContext, lite: wiring.PureInterface) -> None:
        while True:
            await ctx.tick().repeat(self._rng.randrange(1, 4))
            ctx.set(lite.arready, 1)
            address = await self._seen(ctx, lite.arvalid, lite.araddr)
            ctx.set(lite.arready, 0)
            await ctx.tick().repeat(self._rng.randrange(1, 4))
            ctx.set(lite.rdata, self.values.get(address, 0))
            ctx.set(lite.rresp, 2 if address < 8 else 0)
            ctx.set(lite.rvalid, 1)
            await self._seen(ctx, lite.rready)
            ctx.set(lite.rvalid, 0)

    async def writes(self, ctx: SimulatorContext, lite: wiring.PureInterface) -> None:
        while True:
            await ctx.tick().repeat(self._rng.randrange(1, 4))
            taken: dict[str, int] = {}
            order = self._rng.sample(["aw", "w"], 2)
            for channel in order:
                ready = getattr(lite, f"{channel}ready")
                ctx.set(ready, 1)
                sampled = {"aw": lite.awaddr, "w": lite.wdata}[channel]
                taken[channel] = await self._seen(ctx, getattr(lite, f"{channel}valid"), sampled)
                ctx.set(ready, 0)
            self.values[taken["aw"]] = taken["w"]
            ctx.set(lite.bresp, 2 if taken["aw"] < 8 else 0)
            ctx.set(lite.bvalid, 1)
            await self._seen(ctx, lite.bready)
            ctx.set(lite.bvalid, 0)

    @staticmethod
    async def _seen(ctx: SimulatorContext, high: Value, sampled: Value = _NOTHING) -> int:
        """The value at the first clock edge at which ``high`` is."""
        while True:
            *_, now, value = await ctx.tick().sample(high, sampled)
            if now:
                return int(value)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_become_accesses(seed: int) -> None:
    rng = random.Random(seed)
    dut = Axi3ToLite(12)
    registers, ps = Registers(rng), dut.ps
    checked = 0

    async def write(ctx: SimulatorContext, address: int, words: list[int]) -> int:
        ident = rng.randrange(1 << 12)
        for name, value in {"awid": ident, "awaddr": address, "awlen": len(words) - 1, "awvalid": 1}.items():
            ctx.set(getattr(ps, name), value)
        await ctx.tick().until(ps.awready)
        ctx.set(ps.awvalid, 0)
        for number, word in enumerate(words):
            for name, value in {"wdata": word, "wstrb": 15, "wlast": number == len(words) - 1, "wvalid": 1}.items():
                ctx.set(getattr(ps, name), value)
            await ctx.tick().until(ps.wready)
            ctx.set(ps.wvalid, 0)
            await ctx.tick().repeat(rng.randrange(1, 3))
        ctx.set(ps.bready, 1)
        got, answer = await ctx.tick().sample(ps.bid, ps.bresp).until(ps.bvalid)
        ctx.set(ps.bready, 0)
        assert got == ident
        return int(answer)

    async def read(ctx: SimulatorContext, address: int, count: int) -> list[tuple[int, int]]:
        ident, found = rng.randrange(1 << 12), []
        for name, value in {"arid": ident, "araddr": address, "arlen": count - 1, "arvalid": 1}.items():
            ctx.set(getattr(ps, name), value)
        await ctx.tick().until(ps.arready)
        ctx.set(ps.arvalid, 0)
        for number in range(count):
            await ctx.tick().repeat(rng.randrange(1, 3))
            ctx.set(ps.rready, 1)
            got, data, answer, last = await ctx.tick().sample(ps.rid, ps.rdata, ps.rresp, ps.rlast).until(ps.rvalid)
            ctx.set(ps.rready, 0)
            assert (got, last) == (ident, number == count - 1)
            found.append((int(data), int(answer)))
        return found

    async def processor(ctx: SimulatorContext) -> None:
        nonlocal checked
        for _ in range(12):
            count = rng.choice([1, 1, 2, 16])
            address = 4 * rng.randrange(0, 64)
            words = [rng.getrandbits(32) for _ in range(count)]
            assert await write(ctx, address, words) == (2 if address < 8 else 0)
            addresses = [address + 4 * number for number in range(count)]
            assert [registers.values[place] for place in addresses] == words
            assert await read(ctx, address, count) == [
                (word, 2 if place < 8 else 0) for place, word in zip(addresses, words, strict=True)
            ]
            checked += 1

    async def reads(ctx: SimulatorContext) -> None:
        await registers.reads(ctx, dut.lite)

    async def writes(ctx: SimulatorContext) -> None:
        await registers.writes(ctx, dut.lite)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(processor)
    simulator.add_testbench(reads, background=True)
    simulator.add_testbench(writes, background=True)
    simulator.run_until(0.02)
    assert checked == 12
