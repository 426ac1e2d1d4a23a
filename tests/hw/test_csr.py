"""The control registers on Amaranth's simulator, driven by a small AXI4-Lite manager."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from amaranth.sim import Simulator
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.registers import HW_VERSION, IDENT, OFFSETS, REGISTERS, Access, Control, Irq, Status
from vta_hw.axi_lite import AxiLiteSignature
from vta_hw.csr import ControlRegisters

WIDE = VTAConfig(axi_addr_width=40, name="wide")
CONFIGS = [load_preset("tiny"), load_preset("int4"), WIDE]
WORD = 0xFFFFFFFF


def simulate(dut: ControlRegisters, *benches: Callable) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for index, bench in enumerate(benches):
        sim.add_testbench(bench, background=index > 0)
    sim.run()


async def write(ctx, dut, offset: int, value: int, strobes: int = 15, *, order: str = "both", wait: int = 0) -> int:
    """One write; ``order`` says which half comes first; the answer is taken after ``wait`` cycles."""
    bus = dut.bus
    ctx.set(bus.awaddr, offset)
    ctx.set(bus.wdata, value)
    ctx.set(bus.wstrb, strobes)
    halves = {"both": [("aw", "w")], "aw": [("aw",), ("w",)], "w": [("w",), ("aw",)]}[order]
    for group in halves:
        pending = set(group)
        for name in group:
            ctx.set(getattr(bus, f"{name}valid"), 1)
        while pending:
            ready = {name for name in pending if ctx.get(getattr(bus, f"{name}ready"))}
            await ctx.tick()
            for name in ready:
                ctx.set(getattr(bus, f"{name}valid"), 0)
            pending -= ready
        await ctx.tick().repeat(wait or 1)
    while not ctx.get(bus.bvalid):
        await ctx.tick()
    for _ in range(wait):
        assert ctx.get(bus.bvalid)
        await ctx.tick()
    ctx.set(bus.bready, 1)
    response = ctx.get(bus.bresp)
    await ctx.tick()
    ctx.set(bus.bready, 0)
    return response


async def read(ctx, dut, offset: int, *, wait: int = 0) -> int:
    bus = dut.bus
    ctx.set(bus.araddr, offset)
    ctx.set(bus.arvalid, 1)
    while not ctx.get(bus.arready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(bus.arvalid, 0)
    while not ctx.get(bus.rvalid):
        await ctx.tick()
    value = ctx.get(bus.rdata)
    for _ in range(wait):
        await ctx.tick()
        assert ctx.get(bus.rvalid)
        assert ctx.get(bus.rdata) == value
    ctx.set(bus.rready, 1)
    assert ctx.get(bus.rresp) == 0
    await ctx.tick()
    ctx.set(bus.rready, 0)
    return value


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_identity(cfg: VTAConfig) -> None:
    dut = ControlRegisters(cfg)

    async def bench(ctx) -> None:
        assert await read(ctx, dut, OFFSETS["IDENT"]) == IDENT
        assert await read(ctx, dut, OFFSETS["VERSION"]) == HW_VERSION
        assert await read(ctx, dut, OFFSETS["CAPABILITY"]) == cfg.capabilities
        low = await read(ctx, dut, OFFSETS["FINGERPRINT_LO"], wait=3)
        high = await read(ctx, dut, OFFSETS["FINGERPRINT_HI"])
        assert (high << 32) | low == cfg.fingerprint()
        for register in REGISTERS:
            if register.access is Access.RO:
                before = await read(ctx, dut, register.offset)
                await write(ctx, dut, register.offset, ~before & WORD)
                assert await read(ctx, dut, register.offset) == before

    simulate(dut, bench)


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.name)
def test_registers_keep_what_is_written(cfg: VTAConfig) -> None:
    """Random writes with strobes, in every order of AW and W, against a dictionary."""
    dut = ControlRegisters(cfg)
    rng = random.Random(7)
    writable = [r for r in REGISTERS if r.access is Access.RW]
    model = {r.name: 0 for r in writable}

    async def bench(ctx) -> None:
        for _ in range(60):
            register = rng.choice(writable)
            value, strobes = rng.getrandbits(32), rng.getrandbits(4)
            mask = sum(0xFF << (8 * i) for i in range(4) if strobes >> i & 1)
            model[register.name] = (model[register.name] & ~mask) | (value & mask)
            order, wait = rng.choice(["both", "aw", "w"]), rng.choice([0, 0, 3])
            assert await write(ctx, dut, register.offset, value, strobes, order=order, wait=wait) == 0
        for register in writable:
            assert await read(ctx, dut, register.offset, wait=rng.choice([0, 2])) == model[register.name]
        assert ctx.get(dut.insn_count) == model["INSN_COUNT"]
        for name in ("insn_address", "base_uop", "base_wgt", "base_inp", "base_acc", "base_out"):
            pair = (model[f"{name.upper()}_HI"] << 32) | model[f"{name.upper()}_LO"]
            assert ctx.get(getattr(dut, name)) == pair & ((1 << cfg.axi_addr_width) - 1)

    simulate(dut, bench)


def test_unmapped_addresses_read_zero() -> None:
    dut = ControlRegisters(CONFIGS[0])

    async def bench(ctx) -> None:
        for offset in (0x0C, max(OFFSETS.values()) + 4, 0xFFC):
            assert await write(ctx, dut, offset, WORD) == 0
            assert await read(ctx, dut, offset) == 0
        assert await read(ctx, dut, OFFSETS["INSN_COUNT"]) == 0

    simulate(dut, bench)


def test_run_counts_cycles_and_raises_the_interrupt() -> None:
    dut = ControlRegisters(CONFIGS[0])
    starts: list[int] = []

    async def watch(ctx) -> None:
        cycle = 0
        async for _clk, _rst, start in ctx.tick().sample(dut.start):
            cycle += 1
            if start:
                starts.append(cycle)

    async def run(ctx, length: int) -> None:
        await write(ctx, dut, OFFSETS["CONTROL"], Control.START)
        ctx.set(dut.waiting, 0b101)
        ctx.set(dut.errors, 0b100)
        await ctx.tick()
        begun = starts[-1]
        assert await read(ctx, dut, OFFSETS["STATUS"]) == (
            Status.RUNNING | Status.ERROR | Status.WAIT_LOAD | Status.WAIT_STORE
        )
        await write(ctx, dut, OFFSETS["CONTROL"], Control.START)
        assert starts[-1] == begun, "START while running is ignored"
        await ctx.tick().repeat(length)
        ctx.set(dut.done, 1)
        await ctx.tick()
        ctx.set(dut.done, 0)
        ctx.set(dut.waiting, 0)

    async def bench(ctx) -> None:
        for length in (10, 25):
            await write(ctx, dut, OFFSETS["CONTROL"], Control.START, strobes=0b1110)
            assert not await read(ctx, dut, OFFSETS["STATUS"]) & Status.RUNNING, "wstrb guards START"
            runs = len(starts)
            await write(ctx, dut, OFFSETS["IRQ_STATUS"], Irq.DONE)
            await write(ctx, dut, OFFSETS["IRQ_ENABLE"], Irq.DONE)
            assert not ctx.get(dut.interrupt)
            await run(ctx, length)
            assert len(starts) == runs + 1
            assert ctx.get(dut.interrupt)
            assert await read(ctx, dut, OFFSETS["STATUS"]) == Status.DONE | Status.ERROR
            assert await read(ctx, dut, OFFSETS["ERRORS"]) == 0b100
            cycles = await read(ctx, dut, OFFSETS["CYCLES_LO"])
            assert length < cycles < length + 30
            await ctx.tick().repeat(5)
            assert await read(ctx, dut, OFFSETS["CYCLES_LO"]) == cycles, "the counter stops with the run"
            assert await read(ctx, dut, OFFSETS["IRQ_STATUS"]) == Irq.DONE
            await write(ctx, dut, OFFSETS["IRQ_STATUS"], Irq.DONE)
            assert not ctx.get(dut.interrupt)

    simulate(dut, bench, watch)


def test_signature_refuses_a_bad_width() -> None:
    with pytest.raises(ValueError, match="addr_width = 0"):
        AxiLiteSignature(0)
    names = [path[-1] for path, _member, _value in AxiLiteSignature(12).flatten(AxiLiteSignature(12).create())]
    assert names[:2] == ["awaddr", "awprot"]
    assert len(names) == 19
