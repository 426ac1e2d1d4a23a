"""Benches of the bus and the registers, run inside the simulator by ``test_cocotb_protocol``.

Memory and register manager are cocotbext-axi's. The expected results come from the functional simulator.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp
from vta_arch.encoding import Insn, encode_stream, finish, gemm, load, store
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.registers import HW_VERSION, IDENT, OFFSETS, REGISTERS, Access, Control, Errors, Irq, Status
from vta_runtime.device import RunResult
from vta_runtime.driver import identify, read_counters, reset, run
from vta_sim.cocotb_bench import Bench, pause_channels, perform
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, StreamCase, random_stream

CFG = load_preset("tiny")
MAX_CYCLES = 40_000
INSNS, DATA, OUT = 0x1000, 0x4000, 0x8000
ROWS = {"y_size": 2, "x_size": 8, "x_stride": 9}
WORD = 0xFFFFFFFF


async def start_bench(dut: SimHandleBase) -> Bench:
    bench = Bench(dut, CFG.axi_addr_width)
    await bench.reset()
    return bench


async def launch(dut: SimHandleBase, bench: Bench, insns: list[Insn]) -> RunResult:
    bench.memory.write(INSNS, encode_stream(CFG, insns))
    bases = {Memory.INP: DATA, Memory.ACC: DATA, Memory.OUT: OUT}
    sequence = run(CFG, INSNS, len(insns), bases, interrupt=True)
    result: RunResult = await perform(dut, bench.control, sequence, MAX_CYCLES)
    return result


async def run_case(dut: SimHandleBase, bench: Bench, case: StreamCase) -> None:
    """The stream runs here as on the functional simulator."""
    expected, wanted = case.run(FunctionalDevice(CFG))
    for address, size in case.outputs:
        bench.memory.write(address, bytes(size))
    bench.memory.write(case.insn_address, case.instructions)
    for address, data in case.memory:
        bench.memory.write(address, data)
    sequence = run(CFG, case.insn_address, case.insn_count, case.bases, interrupt=True)
    result = await perform(dut, bench.control, sequence, MAX_CYCLES)
    assert (result.errors, result.status) == (expected.errors, expected.status)
    for (address, size), data in zip(case.outputs, wanted, strict=True):
        assert bench.memory.read(address, size) == data.tobytes(), case.description


@cocotb.test()  # type: ignore[untyped-decorator]
async def register_map(dut: SimHandleBase) -> None:
    """Every register: identity, what keeps what is written, what ignores it, byte strobes, and the rest of the map."""
    bench = await start_bench(dut)
    bus, rng = bench.control, random.Random(3)
    await perform(dut, bus, identify(CFG), MAX_CYCLES)
    assert await bus.read_dword(OFFSETS["IDENT"]) == IDENT
    assert await bus.read_dword(OFFSETS["VERSION"]) == HW_VERSION
    written = {}
    for register in REGISTERS:
        value = rng.getrandbits(32)
        before = await bus.read_dword(register.offset)
        if register.access is Access.RW:
            await bus.write_dword(register.offset, value)
            written[register.offset] = value
        elif register.access is Access.RO:
            await bus.write_dword(register.offset, value)
            assert await bus.read_dword(register.offset) == before, register.name
    for offset, value in written.items():
        assert await bus.read_dword(offset) == value
    await bus.write(OFFSETS["WATCHDOG"] + 1, b"\x5a")
    kept = written[OFFSETS["WATCHDOG"]]
    assert await bus.read_dword(OFFSETS["WATCHDOG"]) == (kept & ~0xFF00) | 0x5A00
    mapped = set(OFFSETS.values())
    for offset in [0x0C, *range(0x100, 0x1000, 0xFC)]:
        if offset not in mapped:
            await bus.write_dword(offset, WORD)
            assert await bus.read_dword(offset) == 0
    assert await bus.read_dword(OFFSETS["STATUS"]) == 0


@cocotb.test()  # type: ignore[untyped-decorator]
async def launch_and_relaunch(dut: SimHandleBase) -> None:
    """Runs follow one another; interrupt and STATUS tell their ends; START while one is under way is ignored."""
    bench = await start_bench(dut)
    for seed in range(3):
        await run_case(dut, bench, random_stream(CFG, np.random.default_rng([seed, 5]), Flavour.OVERLAPPED))
        assert not int(dut.interrupt.value), "the driver has cleared it"
    bus = bench.control
    bench.memory.write(INSNS, encode_stream(CFG, [gemm(CFG, uop_end=1, iter_out=1, iter_in=600), finish(CFG)]))
    await bus.write_dword(OFFSETS["INSN_ADDRESS_LO"], INSNS)
    await bus.write_dword(OFFSETS["INSN_COUNT"], 2)
    await bus.write_dword(OFFSETS["IRQ_ENABLE"], Irq.DONE)
    await bus.write_dword(OFFSETS["CONTROL"], Control.START)
    assert await bus.read_dword(OFFSETS["STATUS"]) == Status.RUNNING
    await bus.write_dword(OFFSETS["CONTROL"], Control.START)
    await RisingEdge(dut.interrupt)
    assert await bus.read_dword(OFFSETS["STATUS"]) == Status.DONE
    cycles = await bus.read_dword(OFFSETS["CYCLES_LO"])
    assert 600 < cycles < 800, "the second START did not begin it anew"
    await ClockCycles(dut.aclk, 50)
    assert await bus.read_dword(OFFSETS["CYCLES_LO"]) == cycles
    counters = await perform(dut, bus, read_counters(), MAX_CYCLES)
    assert counters["ARRAY_BUSY"] == 600
    assert counters["READ_INSN"] == 32


@cocotb.test()  # type: ignore[untyped-decorator]
async def back_pressure_on_all_channels(dut: SimHandleBase) -> None:
    bench = await start_bench(dut)
    for seed, chance in enumerate((0.2, 0.5, 0.8)):
        pause_channels(bench.ram, chance, seed)
        await run_case(dut, bench, random_stream(CFG, np.random.default_rng([seed, 6]), list(Flavour)[seed]))


def as_decerr(bench: Bench) -> None:
    """What the memory answers with SLVERR becomes DECERR."""
    reads, writes = bench.ram.read_if.r_channel, bench.ram.write_if.b_channel
    send_read, send_write = reads.send, writes.send

    async def read(beat: object) -> None:
        if beat.rresp == AxiResp.SLVERR:  # type: ignore[attr-defined]
            beat.rresp = AxiResp.DECERR  # type: ignore[attr-defined]
        await send_read(beat)

    async def write(answer: object) -> None:
        if answer.bresp == AxiResp.SLVERR:  # type: ignore[attr-defined]
            answer.bresp = AxiResp.DECERR  # type: ignore[attr-defined]
        await send_write(answer)

    reads.send, writes.send = read, write


FAULTY = {
    DATA: ([load(CFG, Memory.ACC), load(CFG, Memory.ACC, **ROWS)], Errors.AXI_READ, 1),
    DATA + 8: ([load(CFG, Memory.INP, **ROWS)], Errors.AXI_READ, 0),
    OUT: ([load(CFG, Memory.INP), store(CFG), store(CFG, **ROWS)], Errors.AXI_WRITE, 2),
    INSNS + 64: ([load(CFG, Memory.INP)] * 7, Errors.AXI_READ, 4),
}


async def error_responses(dut: SimHandleBase, bench: Bench) -> None:
    for address, (insns, error, index) in FAULTY.items():
        bench.memory.error_range = None
        stream = [*insns, gemm(CFG, pop_prev=1), finish(CFG)]
        bench.memory.write(INSNS, encode_stream(CFG, stream))
        bench.memory.error_range = (address, address + 1)
        sequence = run(CFG, INSNS, len(stream), {Memory.INP: DATA, Memory.ACC: DATA, Memory.OUT: OUT}, interrupt=True)
        result = await perform(dut, bench.control, sequence, MAX_CYCLES)
        assert result.errors == error, hex(address)
        assert result.status == Status.DONE | Status.ERROR
        assert result.error_insn == index, hex(address)
        bench.memory.error_range = None
        assert (await launch(dut, bench, [finish(CFG)])).errors == 0


@cocotb.test()  # type: ignore[untyped-decorator]
async def slave_errors_stop_the_run(dut: SimHandleBase) -> None:
    await error_responses(dut, await start_bench(dut))


@cocotb.test()  # type: ignore[untyped-decorator]
async def decode_errors_stop_the_run(dut: SimHandleBase) -> None:
    bench = await start_bench(dut)
    as_decerr(bench)
    pause_channels(bench.ram, 0.4, 9)
    await error_responses(dut, bench)


def burst_watch(dut: SimHandleBase, channel: str) -> Iterator[tuple[int, int]]:
    """Address and beats of a burst that is accepted in this cycle."""
    port = {name: getattr(dut, f"m_axi_gmem_{channel}{name}") for name in ("valid", "ready", "addr", "len")}
    if int(port["valid"].value) and int(port["ready"].value):
        yield int(port["addr"].value), int(port["len"].value) + 1


@cocotb.test()  # type: ignore[untyped-decorator]
async def bursts_are_what_a_zynq_takes(dut: SimHandleBase) -> None:
    """Rows at odd places, across 4 KiB: every burst starts at a bus word, stays in its page, has at most 16 beats."""
    bench = await start_bench(dut)
    bursts: list[tuple[int, int]] = []
    open_reads = most = 0

    async def watch() -> None:
        nonlocal open_reads, most
        while True:
            await RisingEdge(dut.aclk)
            for channel in ("ar", "aw"):
                for burst in burst_watch(dut, channel):
                    bursts.append(burst)
                    open_reads += channel == "ar"
            done = (dut.m_axi_gmem_rvalid, dut.m_axi_gmem_rready, dut.m_axi_gmem_rlast)
            open_reads -= all(int(signal.value) for signal in done)
            most = max(most, open_reads)

    watcher = cocotb.start_soon(watch())
    page = (DATA + 0x1000 - DATA) // CFG.inp_elem_bytes
    insns = [
        *(load(CFG, Memory.INP, y_size=2, x_size=60, x_stride=61, dram_base=page - n) for n in (1, 2, 31, 59)),
        *(store(CFG, y_size=2, x_size=60, x_stride=61, dram_base=page - n) for n in (1, 2, 31, 59)),
        finish(CFG),
    ]
    assert (await launch(dut, bench, insns)).errors == 0
    watcher.cancel()
    word = CFG.axi_data_width // 8
    assert len(bursts) > 30
    for address, beats in bursts:
        assert address % word == 0
        assert beats <= 16
        assert address >> 12 == (address + beats * word - 1) >> 12
    assert 2 <= most <= 16
    assert open_reads == 0


@cocotb.test()  # type: ignore[untyped-decorator]
async def soft_reset_in_the_middle(dut: SimHandleBase) -> None:
    """From any state, under back-pressure, the next stream is right."""
    bench = await start_bench(dut)
    bus, rng = bench.control, random.Random(8)
    pause_channels(bench.ram, 0.4, 2)
    for seed in range(4):
        case = random_stream(CFG, np.random.default_rng([seed, 7]), Flavour.OVERLAPPED)
        bench.memory.write(INSNS, encode_stream(CFG, [store(CFG, y_size=9, x_size=30, x_stride=31), finish(CFG)]))
        await bus.write_dword(OFFSETS["INSN_ADDRESS_LO"], INSNS)
        await bus.write_dword(OFFSETS["INSN_COUNT"], 2)
        await bus.write_dword(OFFSETS["CONTROL"], Control.START)
        await ClockCycles(dut.aclk, rng.randrange(1, 200))
        await perform(dut, bus, reset(), MAX_CYCLES)
        assert await bus.read_dword(OFFSETS["STATUS"]) == 0
        await run_case(dut, bench, case)
