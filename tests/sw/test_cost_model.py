"""The cycle model beside the RTL, layer by layer."""

from __future__ import annotations

import dataclasses
from functools import cache, partial

import numpy as np
import onnx
import pytest
from qdq_models import QdqBuilder
from vta_arch.config import VTAConfig
from vta_arch.encoding import gemm, load
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.program import Program, Region
from vta_runtime.executor import Executor
from vta_sim.memory_model import MemoryModel
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.cycles.model import stream_cycles
from vta_sw.cycles.program import layer_cycles, region_cycles
from vta_sw.cycles.read_bus import ReadBus, Request
from vta_sw.cycles.timing import HALF_BUS, REFERENCE_MEMORY, MemoryTiming
from vta_sw.cycles.transfers import Transfer, load_transfer, rows_on_bus

CONFIGS = ("tiny", "pynq-z1", "int4")
MEMORIES = {"reference": REFERENCE_MEMORY, "half bus": HALF_BUS, "slow": MemoryTiming(latency=90)}
LIMIT = 0.05


def network(cfg: VTAConfig) -> onnx.ModelProto:
    """Convolutions with and without padding and stride, depthwise, a residual add and a dense layer."""
    net = QdqBuilder(cfg, seed=3)
    x = net.input("x", (cfg.batch, 40, 18, 18))
    same = net.conv(x, "same", (40, 40, 3, 3), relu=True, pads=[1, 1, 1, 1])
    deep = net.conv(same, "deep", (40, 1, 3, 3), pads=[1, 1, 1, 1], group=40)
    total = net.add(x, deep, "sum")
    wide = net.conv(total, "wide", (72, 40, 1, 1))
    strided = net.conv(wide, "strided", (24, 72, 3, 3), strides=[2, 2])
    pooled = net.pair(net.node("GlobalAveragePool", [strided], "pool"), -3)
    flat = net.node("Flatten", [pooled], "flat")
    return net.model(net.conv(flat, "dense", (30, 24, 1, 1), dense=True))


@cache
def program_for(name: str) -> Program:
    cfg = load_preset(name)
    return compile(network(cfg), cfg)


def measured(program: Program, memory: MemoryTiming) -> dict[str, int]:
    """Cycles of each layer alone on the RTL."""
    model = MemoryModel(latency=memory.latency, beat_interval=memory.beat_interval)
    tensor = program.tensors[program.inputs[0]]
    x = np.random.default_rng(0).normal(size=tensor.shape)
    with RtlDevice(program.config, model) as device:
        executor = Executor(program, device)
        executor.run({tensor.name: x}, layers=[layer.name for layer in program.layers])
        assert executor.report.mismatches == 0
        return executor.report.cycles_by_layer


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", CONFIGS)
def test_layers_are_predicted_within_five_percent(name: str, memory: str) -> None:
    program, timing = program_for(name), MEMORIES[memory]
    cycles = measured(program, timing)
    errors = {layer: layer_cycles(program, layer, timing) / found - 1 for layer, found in cycles.items()}
    assert len(errors) == 7
    assert all(abs(error) < LIMIT for error in errors.values()), errors


def test_a_region_is_predicted() -> None:
    """A launch of several layers: the model's stream is the program's, whoever put it together."""
    program = program_for("tiny")
    region = next(step for step in program.steps if isinstance(step, Region))
    alone = sum(layer_cycles(program, name) for name in region.layers)
    assert 0.8 * alone < region_cycles(program, region) <= alone


def test_a_slower_memory_never_helps() -> None:
    program = program_for("tiny")
    for layer in program.layers:
        fast, half, slow = (layer_cycles(program, layer.name, timing) for timing in MEMORIES.values())
        assert fast <= half
        assert fast <= slow


def test_a_stream_that_waits_for_ever_is_refused() -> None:
    cfg = load_preset("tiny")
    with pytest.raises(ValueError, match="token that never comes"):
        stream_cycles(cfg, [gemm(cfg, pop_prev=1, uop_end=1, iter_out=1, iter_in=1)])


@pytest.mark.parametrize(
    ("base", "size", "stride", "rows", "expected"),
    [
        (0, 128, 0, 1, (1, 16)),
        (0, 129, 0, 1, (2, 17)),
        (120, 16, 0, 1, (2, 2)),
        (4, 8, 0, 1, (1, 2)),
        (0, 64, 192, 4, (4, 32)),
        (64, 128, 96, 3, (5, 48)),
    ],
)
def test_rows_on_the_bus(base: int, size: int, stride: int, rows: int, expected: tuple[int, int]) -> None:
    """Bursts of 16 words of 8 bytes that end at multiples of 128."""
    assert rows_on_bus(8, base, size, stride, rows) == expected


def test_padding_of_a_load() -> None:
    """Rows above before the first beat, columns between rows, rows below after the last one."""
    cfg = dataclasses.replace(load_preset("pynq-z1"))
    shape = {"y_size": 2, "x_size": 3, "x_stride": 3, "y_pad_0": 1, "y_pad_1": 2, "x_pad_0": 1, "x_pad_1": 1}
    transfer = load_transfer(cfg, load(cfg, Memory.INP, **shape))
    assert transfer is not None
    assert (transfer.beats, transfer.head, transfer.gaps, transfer.tail) == (12, 5 + 1, 2, 1 + 10)


def test_padding_of_one_loader_hides_behind_the_bursts_of_another() -> None:
    """A loader that pads after each burst leaves the bus to the others; alone it leaves the bus idle."""
    padded, plain = Transfer(bursts=8, beats=32, gaps=8 * 12), Transfer(bursts=8, beats=128)
    ends: dict[int, float] = {}

    def finish(*transfers: Transfer) -> float:
        bus = ReadBus(REFERENCE_MEMORY, len(transfers))
        for number, (client, transfer) in enumerate(zip(bus.clients, transfers, strict=True)):
            client.requests.append(Request(transfer, 0, lambda _: None, partial(ends.__setitem__, number)))
        while bus.step():
            pass
        return max(ends.values())

    alone = finish(padded)
    assert alone == REFERENCE_MEMORY.latency + padded.beats + padded.gaps
    assert finish(plain) == REFERENCE_MEMORY.latency + plain.beats
    assert finish(padded, plain) <= REFERENCE_MEMORY.latency + padded.beats + plain.beats + 12
