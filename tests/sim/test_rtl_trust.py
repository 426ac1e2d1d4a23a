"""The accelerator when things go wrong: soft reset, watchdog, DMA window, error responses, and what it counts."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, gemm, load, make, store
from vta_arch.errors import DeviceError
from vta_arch.isa import AluOp, Memory, Opcode
from vta_arch.presets import load_preset
from vta_arch.registers import COUNTERS, OFFSETS, Control, Errors, Status
from vta_runtime.device import RunResult, check
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, StreamCase, random_stream
from vta_sim.rtl import MemoryModel, RtlDevice

CFG = load_preset("tiny")
MAX_CYCLES = 400_000
INSNS, UOPS, DATA, OUT = 0x1000, 0x8000, 0x10000, 0x20000
BASES = dict.fromkeys((Memory.WGT, Memory.INP, Memory.ACC), DATA) | {Memory.UOP: UOPS, Memory.OUT: OUT}
EVERYTHING = (0, 1 << 64)


def launch(device: RtlDevice, insns: list[Insn]) -> RunResult:
    device.write(INSNS, encode_stream(device.config, insns))
    return device.launch(INSNS, len(insns), BASES)


def agrees(case: StreamCase, device: RtlDevice) -> None:
    """The stream runs on the device as on the functional simulator."""
    expected, wanted = case.run(FunctionalDevice(case.config))
    for address, size in case.outputs:
        device.write(address, bytes(size))
    result, found = case.run(device)
    assert (result.errors, result.status) == (expected.errors, expected.status)
    assert (result.error_insn, result.error_text) == (expected.error_insn, expected.error_text)
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def reset_after(device: RtlDevice, case: StreamCase, cycles: int) -> bool:
    """Start the stream and reset it after so many cycles; whether it was still running."""
    device.max_cycles = cycles
    running = True
    with contextlib.suppress(DeviceError):
        case.run(device)
        running = False
    device.max_cycles = MAX_CYCLES
    device.driver.reset()
    return running


@pytest.mark.parametrize(
    "memory",
    [
        MemoryModel(),
        MemoryModel(latency=90, beat_interval=3, max_reads=4, max_writes=2),
        MemoryModel(latency=3, backpressure=0.6, seed=4),
    ],
    ids=["fast", "slow", "stalls"],
)
def test_reset_at_random_cycles(memory: MemoryModel) -> None:
    """24 resets a memory: the bus is left idle and in order, and the next stream runs as if nothing had been."""
    rng = np.random.default_rng(11)
    with RtlDevice(CFG, memory, max_cycles=MAX_CYCLES) as device:
        whole = random_stream(CFG, np.random.default_rng(1), Flavour.OVERLAPPED).run(device)[0].cycles
        assert whole is not None
        hit = 0
        for number in range(24):
            case = random_stream(CFG, np.random.default_rng([1, number]), list(Flavour)[number % 3])
            hit += reset_after(device, case, int(rng.integers(1, whole * 2 // 3)))
            stats = device.statistics
            assert (stats.reads_open, stats.writes_open) == (0, 0)
            assert device.read32(OFFSETS["STATUS"]) == 0
            assert device.read32(OFFSETS["ERRORS"]) == 0
            agrees(random_stream(CFG, np.random.default_rng([2, number])), device)
        assert hit >= 17


def stores(rows: int) -> list[Insn]:
    """Long stores, so that write bursts are under way nearly always."""
    one = store(CFG, y_size=rows, x_size=32, x_stride=40)
    return [*[one] * 4, finish(CFG)]


def test_reset_completes_write_bursts() -> None:
    """What was stored before the reset is there, and nothing else was written."""
    memory = MemoryModel(latency=20, beat_interval=2, backpressure=0.3, seed=3)
    for cycles in range(60, 400, 17):
        with RtlDevice(CFG, memory, max_cycles=cycles) as device:
            device.write(OUT, np.full(0x4000, 0xAA, dtype=np.uint8))
            with pytest.raises(DeviceError, match="max_cycles"):
                launch(device, stores(8))
            device.driver.reset()
            assert (device.statistics.reads_open, device.statistics.writes_open) == (0, 0)
            row = 40 * CFG.out_elem_bytes
            data = device.read(OUT, 8 * row).reshape(8, row)
            written = data[:, : 32 * CFG.out_elem_bytes].reshape(-1)
            assert set(np.unique(data)) <= {0, 0xAA}
            assert (data[:, 32 * CFG.out_elem_bytes :] == 0xAA).all()
            assert (np.diff((written == 0xAA).astype(int)) >= 0).all(), "written in order, then nothing"
            device.max_cycles = MAX_CYCLES
            assert launch(device, stores(1)).errors == 0


def test_reset_while_idle_and_while_resetting() -> None:
    with RtlDevice(CFG, max_cycles=MAX_CYCLES) as device:
        for _ in range(3):
            device.write32(OFFSETS["CONTROL"], Control.RESET)
        device.write32(OFFSETS["CONTROL"], Control.RESET | Control.START)
        device.driver.reset()
        assert device.read32(OFFSETS["STATUS"]) == 0
        agrees(random_stream(CFG, np.random.default_rng(5)), device)


ROWS = {"y_size": 4, "x_size": 8, "x_stride": 16}


@pytest.mark.parametrize("transfers", [0, 1, 3, 9, 20, 30])
def test_watchdog_ends_a_run_that_the_memory_forgot(transfers: int) -> None:
    insns = [load(CFG, Memory.INP, push_next=1, **ROWS), store(CFG, **ROWS), gemm(CFG, pop_prev=1), finish(CFG)]
    with RtlDevice(CFG, MemoryModel(silence=(transfers, 1 << 40)), max_cycles=20_000, watchdog=500) as device:
        result = launch(device, insns)
        assert result.errors == Errors.WATCHDOG
        assert result.status & Status.RESETTING
        assert result.cycles is not None
        assert result.cycles < 3000
        assert result.error_insn is not None
        with pytest.raises(DeviceError, match=r"nothing moved for as long"):
            check(result)
        device.write32(OFFSETS["CONTROL"], Control.START)
        assert not device.read32(OFFSETS["STATUS"]) & Status.RUNNING, "no run while the bus is not idle"
        with pytest.raises(DeviceError, match="the memory does not answer"):
            launch(device, [finish(CFG)])


def test_watchdog_and_a_memory_that_comes_back() -> None:
    with RtlDevice(CFG, MemoryModel(silence=(10, 3000)), max_cycles=MAX_CYCLES, watchdog=400) as device:
        result = launch(device, [load(CFG, Memory.INP, **ROWS), finish(CFG)])
        assert result.errors == Errors.WATCHDOG
        assert (result.error_insn, result.error_text[:8]) == (0, "LOAD INP")
        agrees(random_stream(CFG, np.random.default_rng(6)), device)


def test_watchdog_leaves_slow_runs_alone() -> None:
    memory = MemoryModel(latency=300, backpressure=0.5, seed=1)
    with RtlDevice(CFG, memory, max_cycles=MAX_CYCLES, watchdog=700) as device:
        for seed in range(3):
            agrees(random_stream(CFG, np.random.default_rng([7, seed])), device)
        long = gemm(CFG, uop_end=1, iter_out=8, iter_in=1000)
        assert launch(device, [long, finish(CFG)]).errors == 0
    with RtlDevice(CFG, MemoryModel(silence=(10, 3000)), max_cycles=MAX_CYCLES, watchdog=0) as device:
        assert launch(device, [load(CFG, Memory.INP, **ROWS), finish(CFG)]).errors == 0


WINDOWS = {
    "stream below": ((0x2000, 0x30000), Errors.DMA_WINDOW, 0, "LOAD INP"),
    "store above": ((0, 0x20000), Errors.DMA_WINDOW, 3, "STORE"),
    "load above": ((0, 0x10000), Errors.DMA_WINDOW, 0, "LOAD INP"),
    "exact": ((0x1000, 0x21000), Errors(0), None, ""),
    "everything": (None, Errors(0), None, ""),
    "the whole address space": (EVERYTHING, Errors(0), None, ""),
    "nothing of it": ((1 << 40, 1 << 41), Errors.DMA_WINDOW, 0, "LOAD INP"),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_dma_window(name: str) -> None:
    """The memory outside answers with errors, so a transfer that slips through is found."""
    window, errors, insn, text = WINDOWS[name]
    first = [load(CFG, Memory.INP, **ROWS), load(CFG, Memory.ACC, push_next=1, **ROWS)]
    insns = [*first, gemm(CFG), store(CFG, pop_prev=1, **ROWS), finish(CFG)]
    with RtlDevice(CFG, max_cycles=20_000) as device:
        device.write(OUT, b"\xaa" * 64)
        device.window = window
        result = launch(device, insns)
        assert (result.errors, result.error_insn) == (errors, insn)
        assert result.error_text.startswith(text)
        assert not result.status & Status.RESETTING
        assert (device.read(OUT, 8).tobytes() == b"\xaa" * 8) == bool(errors)
        device.window = None
        agrees(random_stream(CFG, np.random.default_rng(8)), device)


def test_the_window_in_the_middle_of_a_stream_and_of_a_store() -> None:
    """Index of an instruction deep in the stream; what is inside the window is written, what is outside is not."""
    per_page = 4096 // CFG.out_elem_bytes
    with RtlDevice(CFG, max_cycles=MAX_CYCLES) as device:
        device.write(OUT, b"\xaa" * 8192)
        device.window = (0, OUT + 4096)
        result = launch(device, [store(CFG, y_size=1, x_size=16, x_stride=1, dram_base=per_page - 8), finish(CFG)])
        assert (result.errors, result.error_insn) == (Errors.DMA_WINDOW, 0)
        assert device.read(OUT + 4096, 4096).tobytes() == b"\xaa" * 4096
        device.window = (0, INSNS + 4096)
        result = launch(device, [*[load(CFG, Memory.INP)] * 300, finish(CFG)])
        assert (result.errors, result.error_insn) == (Errors.DMA_WINDOW, 256)
        device.window = None


@pytest.mark.parametrize(
    ("insn", "error"),
    [
        (load(CFG, Memory.INP, **ROWS), Errors.AXI_READ),
        (load(CFG, Memory.WGT, **ROWS), Errors.AXI_READ),
        (load(CFG, Memory.ACC, **ROWS), Errors.AXI_READ),
        (store(CFG, dram_base=(DATA - OUT) // CFG.out_elem_bytes % (1 << 32), **ROWS), Errors.AXI_WRITE),
    ],
    ids=["inp", "wgt", "acc", "store"],
)
def test_error_responses_stop_the_run(insn: Insn, error: Errors) -> None:
    """Not even a wait for ever, or a stream without end, holds the run up."""
    ends = [[gemm(CFG, pop_prev=1), finish(CFG)]]
    if error is Errors.AXI_READ:  # a store may find no free cycle of the accumulators beside such a GEMM
        ends.append([gemm(CFG, iter_out=16000, iter_in=16000, uop_end=1)])
    memory = MemoryModel(error_range=(DATA, DATA + 0x1000))
    with RtlDevice(CFG, memory, max_cycles=20_000) as device:
        for end in ends:
            for before in (0, 5):
                result = launch(device, [*[load(CFG, Memory.WGT)] * before, insn, *end])
                assert (result.errors, result.error_insn) == (error, before)
                assert result.status == Status.DONE | Status.ERROR
                assert result.cycles is not None
                assert result.cycles < 1500
        assert launch(device, [finish(CFG)]).errors == 0


def test_error_response_to_the_stream_itself() -> None:
    memory = MemoryModel(error_range=(INSNS + 0x200, INSNS + 0x201))
    with RtlDevice(CFG, memory, max_cycles=20_000) as device:
        result = launch(device, [load(CFG, Memory.INP)] * 100)
        # An error of the burst's first beat: the burst is 128 bytes long.
        assert (result.errors, result.error_insn) == (Errors.AXI_READ, 0x200 // 16)


BLAMED = {
    "range": ([load(CFG, Memory.INP), load(CFG, Memory.INP, sram_base=0xFFFF, **ROWS)], Errors.INDEX_RANGE, 1),
    "store range": ([store(CFG), store(CFG, sram_base=0xFFFF, **ROWS)], Errors.INDEX_RANGE, 1),
    "memory": ([load(CFG, Memory.ACC), make(CFG, Opcode.LOAD, memory_type=7)], Errors.UNKNOWN_MEMORY, 1),
    "opcode": ([load(CFG, Memory.ACC), Insn(6, make(CFG, Opcode.FINISH).fields)], Errors.UNKNOWN_OPCODE, 1),
    "operation": ([gemm(CFG), make(CFG, Opcode.ALU, alu_opcode=7)], Errors.UNKNOWN_OPCODE, 1),
    "the smaller index": (
        [
            load(CFG, Memory.ACC, push_next=1),
            store(CFG, pop_prev=1, sram_base=0xFFFF, **ROWS),
            make(CFG, Opcode.LOAD, memory_type=7),
            Insn(7, make(CFG, Opcode.FINISH).fields),
        ],
        Errors.INDEX_RANGE | Errors.UNKNOWN_MEMORY | Errors.UNKNOWN_OPCODE,
        1,
    ),
    "waits": ([load(CFG, Memory.INP), load(CFG, Memory.INP, pop_next=1)], Errors.DEADLOCK, 1),
    "two wait": ([store(CFG, pop_prev=1), gemm(CFG, pop_prev=1)], Errors.DEADLOCK, 0),
}


@pytest.mark.parametrize("name", BLAMED)
def test_the_instruction_to_blame(name: str) -> None:
    insns, errors, index = BLAMED[name]
    with RtlDevice(CFG, max_cycles=20_000) as device:
        for _ in range(2):
            result = launch(device, [*insns, finish(CFG)])
            assert (result.errors, result.error_insn) == (errors, index)
        assert launch(device, [finish(CFG)]).error_insn is None
        assert launch(device, [load(CFG, Memory.INP)]).error_insn is None, "nobody is to blame for a missing FINISH"


def test_blame_as_in_the_functional_simulator() -> None:
    with RtlDevice(CFG, max_cycles=MAX_CYCLES) as device:
        for seed in range(24):
            case = random_stream(CFG, np.random.default_rng([9, seed]), Flavour.FAULTS)
            agrees(case, device)
        for insns, errors, index in BLAMED.values():
            reference = FunctionalDevice(CFG)
            reference.write(INSNS, encode_stream(CFG, [*insns, finish(CFG)]))
            result = reference.launch(INSNS, len(insns) + 1, BASES)
            assert (result.errors, result.error_insn) == (errors, index)


def counters_of(cfg: VTAConfig, insns: list[Insn], memory: MemoryModel | None = None) -> tuple[dict[str, int], int]:
    with RtlDevice(cfg, memory, max_cycles=MAX_CYCLES) as device:
        device.write(UOPS, encode_uops(cfg, [(0, n, n) for n in range(8)]).tobytes())
        result = launch(device, insns)
        assert result.errors == 0
        assert result.cycles is not None
        before = device.statistics
        counters = device.driver.counters()
        word = cfg.axi_data_width // 8
        assert sum(n for name, n in counters.items() if name.startswith("READ_")) == before.read_beats * word
        assert counters["WRITE_OUT"] == before.write_beats * word
        assert sum(n for name, n in counters.items() if name.startswith(("ARRAY", "STALL"))) == result.cycles
        return counters, result.cycles


def test_counters_of_a_known_stream() -> None:
    """Every byte by hand, and the array busy exactly one cycle a micro-op."""
    insns = [
        load(CFG, Memory.UOP, y_size=1, x_size=8, x_stride=8),
        load(CFG, Memory.INP, push_next=1, y_size=1, x_size=16, x_stride=16),
        load(CFG, Memory.WGT, push_next=1, y_size=1, x_size=4, x_stride=4),
        load(CFG, Memory.ACC, pop_prev=1, y_size=2, x_size=8, x_stride=8),
        gemm(CFG, pop_prev=1, uop_end=8, iter_out=3, iter_in=5),
        alu(CFG, AluOp.ADD, uop_end=8, iter_out=2, iter_in=2, use_imm=1, imm=3, push_next=1),
        store(CFG, pop_prev=1, push_prev=1, y_size=1, x_size=16, x_stride=16),
        finish(CFG, pop_next=1),
    ]
    counters, _cycles = counters_of(CFG, insns)
    assert counters["ARRAY_BUSY"] == 8 * 3 * 5
    assert counters["READ_INSN"] == 16 * len(insns)
    assert counters["READ_UOP"] == 4 * 8
    assert counters["READ_INP"] == 16 * CFG.inp_elem_bytes
    assert counters["READ_WGT"] == 4 * CFG.wgt_elem_bytes
    assert counters["READ_ACC"] == 16 * CFG.acc_elem_bytes
    assert counters["WRITE_OUT"] == 16 * CFG.out_elem_bytes
    assert counters["STALL_ALU"] >= 32
    assert counters["STALL_STORE"] > 40
    assert counters["STALL_INSN"] > 40, "the first instruction"


LOADS = {
    "STALL_INPUT": Memory.INP,
    "STALL_WEIGHT": Memory.WGT,
    "STALL_UOP": Memory.UOP,
    "STALL_ACC": Memory.ACC,
}


@pytest.mark.parametrize("name", LOADS)
def test_the_array_waits_for_loads(name: str) -> None:
    memory, tokens = LOADS[name], int(LOADS[name] in (Memory.INP, Memory.WGT))
    insns = [
        load(CFG, memory, push_next=tokens, y_size=4, x_size=8, x_stride=8),
        gemm(CFG, pop_prev=tokens, uop_end=1, iter_out=1, iter_in=1),
        finish(CFG),
    ]
    counters, cycles = counters_of(CFG, insns, MemoryModel(latency=300))
    assert 300 < counters[name] < cycles
    others = {n for n in COUNTERS if n.startswith("STALL_") and n not in (name, "STALL_INSN")}
    assert all(counters[other] < 20 for other in others), counters
