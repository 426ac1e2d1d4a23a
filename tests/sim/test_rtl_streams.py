"""The RTL against the functional simulator: random streams, errors, and cycles that must not grow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, gemm, load, make, store
from vta_arch.isa import AluOp, Memory, Opcode
from vta_arch.presets import load_preset
from vta_arch.registers import Errors, Status
from vta_runtime.device import Device, RunResult
from vta_sim.functional import FunctionalDevice
from vta_sim.random_configs import named_configs
from vta_sim.random_streams import Flavour, random_stream
from vta_sim.rtl import MemoryModel, RtlDevice

MEMORIES = [
    MemoryModel(),
    MemoryModel(latency=5, backpressure=0.3, seed=1),
    MemoryModel(latency=90, max_reads=2, max_writes=1, beat_interval=3),
    MemoryModel(latency=1, backpressure=0.7, seed=2),
]
FLAVOURS = list(Flavour)
STREAMS = 9
"""Streams for each memory and configuration: 396 in all."""
SOAK_ONLY = ("x-tiny", "int2", "acc16", "x-int1", "x-int2", "x-int4")
"""Configurations whose like are here with more or fewer extensions: `make streams` runs them."""
MAX_CYCLES = 2_000_000
INSNS, UOPS = 0x1000, 0x8000
BASES = dict.fromkeys((Memory.WGT, Memory.INP, Memory.ACC, Memory.OUT), 0x10000) | {Memory.UOP: UOPS}


@pytest.mark.parametrize("name", [name for name in named_configs() if name not in SOAK_ONLY])
def test_random_streams_agree(name: str) -> None:
    """Both devices keep memory and scratchpads from stream to stream; the memory's timing changes."""
    cfg = named_configs()[name]
    for part, memory in enumerate(MEMORIES):
        reference = FunctionalDevice(cfg)
        with RtlDevice(cfg, memory, max_cycles=MAX_CYCLES) as device:
            for index in range(STREAMS):
                rng = np.random.default_rng([part, index])
                case = random_stream(cfg, rng, FLAVOURS[(index + part) % len(FLAVOURS)])
                expected, wanted = case.run(reference)
                result, found = case.run(device)
                assert (result.errors, result.status) == (expected.errors, expected.status), case.description
                assert all(map(np.array_equal, found, wanted)), case.description


def launch(device: Device, insns: list[Insn]) -> RunResult:
    device.write(INSNS, encode_stream(device.config, insns))
    return device.launch(INSNS, len(insns), BASES)


def both(cfg: VTAConfig) -> list[Device]:
    return [FunctionalDevice(cfg), RtlDevice(cfg, max_cycles=MAX_CYCLES)]


ENDINGS = {
    "no finish": (lambda cfg: [load(cfg, Memory.INP)], Errors.NO_FINISH, Status(0)),
    "empty": (lambda _cfg: [], Errors.NO_FINISH, Status(0)),
    "load waits": (lambda cfg: [load(cfg, Memory.INP, pop_next=1), finish(cfg)], Errors.DEADLOCK, Status.WAIT_LOAD),
    "finish waits": (lambda cfg: [finish(cfg, pop_next=1)], Errors.DEADLOCK, Status.WAIT_COMPUTE),
    "two wait, no finish": (
        lambda cfg: [store(cfg, pop_prev=1), gemm(cfg, pop_prev=1)],
        Errors.DEADLOCK | Errors.NO_FINISH,
        Status.WAIT_COMPUTE | Status.WAIT_STORE,
    ),
    "nothing after finish": (
        lambda cfg: [finish(cfg), store(cfg, x_size=1, y_size=1, x_stride=1), load(cfg, Memory.INP, pop_next=1)],
        Errors(0),
        Status(0),
    ),
    "unknown ALU operation": (
        lambda cfg: [
            make(cfg, Opcode.ALU, alu_opcode=6, uop_end=1, iter_out=999, iter_in=1, dst_factor_out=9),
            finish(cfg),
        ],
        Errors.UNKNOWN_OPCODE,
        Status(0),
    ),
    "unknown opcode": (
        lambda cfg: [Insn(6, make(cfg, Opcode.FINISH).fields), finish(cfg)],
        Errors.UNKNOWN_OPCODE,
        Status(0),
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings_and_the_run_after_them(ending: str) -> None:
    cfg = load_preset("tiny")
    insns, errors, waiting = ENDINGS[ending]
    for device in both(cfg):
        device.write(BASES[Memory.OUT], b"\xff" * 16)
        for _ in range(2):
            result = launch(device, insns(cfg))
            assert result.errors == errors
            assert result.status == Status.DONE | waiting | (Status.ERROR if errors else 0)
        assert launch(device, [finish(cfg)]).errors == 0
        assert device.read(BASES[Memory.OUT], 16).tobytes() == b"\xff" * 16
        device.close()


def test_bus_errors_are_reported() -> None:
    cfg = load_preset("tiny")
    bad = (BASES[Memory.INP], BASES[Memory.INP] + 64)
    for insn, error in (
        (load(cfg, Memory.INP, y_size=1, x_size=4, x_stride=4), Errors.AXI_READ),
        (store(cfg, y_size=1, x_size=4, x_stride=4), Errors.AXI_WRITE),
    ):
        device = RtlDevice(cfg, memory=MemoryModel(error_range=bad), max_cycles=MAX_CYCLES)
        assert launch(device, [insn, finish(cfg)]).errors == error
        device.close()


def gemm_cycles(device: Device, uops: NDArray[np.uint32], steps: int) -> int:
    """Cycles of a run with ``steps`` GEMM steps over ``uops``."""
    cfg = device.config
    device.write(UOPS, uops.tobytes())
    count = len(uops)
    stream = [
        load(cfg, Memory.UOP, y_size=1, x_size=count, x_stride=count),
        gemm(cfg, uop_end=count, iter_out=steps // count // 8, iter_in=8, dst_factor_in=1, src_factor_in=1),
        finish(cfg),
    ]
    result = launch(device, stream)
    assert result.errors == 0
    assert result.cycles is not None
    return result.cycles


@pytest.mark.parametrize("name", ["tiny", "int4", "batch2"])
def test_gemm_runs_a_step_a_cycle(name: str) -> None:
    """Through loop ends, and with every micro-op hitting the same accumulator."""
    cfg = named_configs()[name]
    device = RtlDevice(cfg, max_cycles=MAX_CYCLES)
    uops = encode_uops(cfg, [(0, n, n) for n in range(8)])
    few, many = gemm_cycles(device, uops, 128), gemm_cycles(device, uops, 1152)
    device.close()
    assert many - few == 1024


@pytest.mark.parametrize("name", ["tiny", "unsigned", "int1"])
def test_padded_load_of_micro_ops(name: str) -> None:
    """A micro-op of padding addresses element 0; each micro-op adds 1 where it points."""
    cfg = named_configs()[name]
    rows, columns, pads = 3, 5, {"y_pad_0": 1, "y_pad_1": 2, "x_pad_0": 3, "x_pad_1": 1}
    total = (rows + 3) * (columns + 4)
    depth = min(cfg.acc_depth, 16)
    insns = [
        load(cfg, Memory.UOP, sram_base=1, dram_base=1, y_size=rows, x_size=columns, x_stride=columns + 2, **pads),
        alu(cfg, AluOp.ADD, use_imm=1, imm=1, uop_bgn=1, uop_end=1 + total, iter_out=1, iter_in=1, push_next=1),
        store(cfg, pop_prev=1, push_prev=1, y_size=1, x_size=depth, x_stride=depth),
        finish(cfg, pop_next=1),
    ]
    found = []
    for device in both(cfg):
        device.write(UOPS, encode_uops(cfg, [(n % depth, 0, 0) for n in range(32)]).tobytes())
        result = launch(device, insns)
        assert result.errors == 0
        found.append(device.read(BASES[Memory.OUT], depth * cfg.out_elem_bytes))
        device.close()
    assert found[0].any()
    assert np.array_equal(*found)
