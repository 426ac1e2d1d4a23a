"""Lowering: tokens, tiles within limits, and the overflow proof."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from qdq_models import QdqBuilder, residual_network
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, decode_stream, gemm, load, store
from vta_arch.isa import AluOp, Memory, Opcode, Unit
from vta_arch.presets import load_preset, preset_names
from vta_arch.program import Layer, Program, Region
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.lower.errors import NotLowerableError
from vta_sw.lower.geometry import Axis, ConvGeometry
from vta_sw.lower.stream import StreamBuilder
from vta_sw.lower.tiling import choose_tiling, row_parts
from vta_sw.lower.timeline import slice_cycles

QUEUES = {
    (Unit.LOAD, Unit.COMPUTE): ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD): ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}


def assert_balanced(insns: list[Insn]) -> None:
    """In program order no pop comes before its push, and nothing is left over."""
    for (producer, consumer), (push, pop) in QUEUES.items():
        level = 0
        for insn in insns:
            level -= insn[pop] if insn.unit == consumer else 0
            assert level >= 0
            level += insn[push] if insn.unit == producer else 0
        assert level == 0


def assert_program_balanced(program: Program) -> None:
    """Each region is, and each layer by itself."""
    insns = program.instructions()
    for step in program.steps:
        if isinstance(step, Region):
            assert_balanced(insns[step.first : step.first + step.count])
    for layer in program.layers:
        assert_balanced(decode_stream(program.config, program.layer_stream(layer.name)))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "int1"])
def test_streams_are_balanced(name: str) -> None:
    assert_program_balanced(compile(residual_network(load_preset(name), 2), load_preset(name)))


def test_hazards_become_tokens_once() -> None:
    cfg = load_preset("tiny")
    stream = StreamBuilder(cfg)
    for _ in range(2):
        stream.add_transfer(load(cfg, Memory.INP), Memory.INP, "x", writes=["slot"])
        stream.add(load(cfg, Memory.ACC), reads=["slot"])
        stream.add(load(cfg, Memory.ACC), reads=["slot"])
    insns = stream.finish()
    assert_balanced(insns)
    assert [insn["push_next"] for insn in insns] == [1, 0, 0, 1, 0, 0]
    assert [insn["pop_prev"] for insn in insns] == [0, 1, 0, 0, 1, 0]
    assert [insn["push_prev"] for insn in insns] == [0, 0, 1, 0, 0, 0]


def weights(cfg: VTAConfig, first: int) -> Insn:
    return load(cfg, Memory.WGT, sram_base=first, y_size=1, x_size=4)


def test_a_layer_loads_beside_the_layer_before() -> None:
    """Only what the older layer still reads in the same place is waited for, whatever it is called."""
    cfg = load_preset("tiny")
    stream = StreamBuilder(cfg)
    for number in range(2):
        stream.add_transfer(weights(cfg, 4 * number), Memory.WGT, "weights", writes=[("wgt", number)])
    stream.add(gemm(cfg), reads=[("wgt", 0)], writes=[("acc", 0)])
    stream.add(gemm(cfg), reads=[("wgt", 1)], writes=[("acc", 0)])
    stream.begin_layer()
    stream.add_transfer(weights(cfg, 2), Memory.WGT, "weights", writes=[("wgt", 1)])
    stream.add_transfer(weights(cfg, 8), Memory.WGT, "weights", writes=[("wgt", 0)])
    stream.begin_layer()
    stream.add_transfer(weights(cfg, 12), Memory.WGT, "weights", writes=[("wgt", 0)])
    insns = stream.finish()
    assert_balanced(insns)
    assert [insn["push_prev"] for insn in insns] == [0, 0, 0, 1, 0, 0, 0]
    assert [insn["pop_next"] for insn in insns] == [0, 0, 0, 0, 1, 0, 0]


def rows_of(tensor: str, stream: StreamBuilder, first: int, count: int, slot: int) -> None:
    shape = {"dram_base": 8 * first, "y_size": count, "x_size": 4, "x_stride": 8}
    stream.add_transfer(load(stream.cfg, Memory.INP, **shape), Memory.INP, tensor, writes=[("inp", slot)])


def test_a_load_waits_for_the_store_of_what_it_reads() -> None:
    """The token goes through an instruction of the compute unit, behind products that last as long as the STORE."""
    cfg, loops = load_preset("tiny"), {"uop_end": 1, "iter_out": 10, "iter_in": 10}
    stream = StreamBuilder(cfg)
    stream.begin_layer()
    for row in range(3):
        stream.add(gemm(cfg, **loops), writes=[("acc", row % 2)])
        stream.add(gemm(cfg, **loops), writes=[("acc", row % 2)])
        shape = {"dram_base": 8 * row, "y_size": 1, "x_size": 8, "x_stride": 8}
        stream.add_transfer(store(cfg, **shape), Memory.OUT, "x", reads=[("acc", row % 2)])
    stream.begin_layer()
    rows_of("x", stream, 0, 2, 0)
    rows_of("x", stream, 1, 1, 1)
    stream.add(gemm(cfg, **loops), reads=[("inp", 0), ("inp", 1)], writes=[("acc", 1)])
    rows_of("x", stream, 2, 1, 0)
    stream.add(gemm(cfg, **loops), reads=[("inp", 0)], writes=[("acc", 1)])
    insns = stream.finish()
    assert_balanced(insns)
    assert stream.layers == [(0, 10), (10, 6)]
    letters = {Unit.COMPUTE: "c", Unit.LOAD: "l", Unit.STORE: "s"}
    # Relays: one behind the first product of the third row, one behind the second layer's first product.
    assert "".join(letters[insn.unit] for insn in insns) == "ccsccscccs" + "llcclc"
    relays = [insn for insn in insns if insn.opcode == Opcode.LOAD and insn.unit == Unit.COMPUTE]
    assert [(insn["pop_next"], insn["push_prev"]) for insn in relays] == [(1, 1), (1, 1)]
    assert insns.index(relays[0]) == 7
    loads = [insn for insn in insns if insn.unit == Unit.LOAD]
    assert [insn["pop_next"] for insn in loads] == [1, 0, 1]


def square(size: int, kernel: int, stride: int, blocks: tuple[int, int]) -> ConvGeometry:
    pad = kernel // 2
    axis = Axis(size, (size + 2 * pad - kernel) // stride + 1, kernel, stride, 1, pad, pad)
    return ConvGeometry(1, *blocks, axis, axis)


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("shape", [(224, 7, 2, (4, 1)), (56, 3, 1, (4, 4)), (7, 3, 1, (32, 32)), (1, 1, 1, (63, 32))])
def test_tilings_fit(name: str, shape: tuple[int, int, int, tuple[int, int]]) -> None:
    cfg, geometry = load_preset(name), square(*shape)
    tiling = choose_tiling(cfg, geometry, 6, 2)
    window = geometry.rows.window(tiling.rows) * geometry.cols.window(tiling.cols)
    assert tiling.in_blocks * window * tiling.inp_slots <= cfg.inp_depth
    tiles = tiling.out_blocks * tiling.in_blocks * geometry.taps
    assert tiles * tiling.wgt_slots <= cfg.wgt_depth
    assert tiles <= cfg.uop_depth
    assert tiling.out_blocks * (tiling.rows * tiling.cols + 2) <= cfg.acc_depth // 2


def test_too_large_kernel_has_a_reason() -> None:
    with pytest.raises(NotLowerableError, match="micro-ops"):
        choose_tiling(load_preset("tiny"), square(64, 31, 1, (1, 1)), 6, 2)


def test_overflow_is_proved_or_refused() -> None:
    cfg = load_preset("pynq-z1")
    small = type(cfg)(**{**cfg.to_dict(), "acc_width": 16, "log_acc_buff": 16, "extensions": frozenset()})
    net = QdqBuilder(cfg)
    x = net.input("x", (1, 64, 6, 6))
    model = net.model(net.conv(x, "layer", (8, 64, 3, 3)))
    assert [layer.name for layer in compile(model, cfg).layers] == ["layer"]
    program = compile(model, small)
    assert program.layers == ()
    assert "16-bit accumulator" in program.offload["layer"]
    assert np.issubdtype(program.tensors[program.outputs[0]].host_dtype, np.floating)


@pytest.mark.parametrize(("size", "rows", "edge"), [(32, 10, 2), (32, 32, 32), (7, 3, 1), (5, 4, 3), (1, 1, 1)])
def test_row_parts_cover_every_row_once(size: int, rows: int, edge: int) -> None:
    parts = row_parts(size, rows, edge)
    assert [row for first, count in parts for row in range(first, first + count)] == list(range(size))
    assert all(0 < count <= rows for _, count in parts)


def lower_layer(cfg: VTAConfig) -> tuple[Layer, list[Insn]]:
    """A convolution of several tiles, and its instructions."""
    net = QdqBuilder(cfg)
    x = net.input("x", (1, 64, 28, 28))
    program = compile(net.model(net.conv(x, "layer", (64, 64, 3, 3))), cfg)
    layer = program.layers[0]
    return layer, program.instructions()[layer.first : layer.first + layer.count]


def test_start_pass_replaces_the_reset() -> None:
    """With positive shifts, accumulators are reset once in a half, then MAX sets them to the bias."""
    cfg = load_preset("classic")
    layer, insns = lower_layer(cfg)
    gemms = [insn for insn in insns if insn.opcode == Opcode.GEMM]
    assert sum(insn["reset"] for insn in gemms) == 2
    assert sum(insn.opcode == Opcode.STORE for insn in insns) > 2
    assert slice_cycles(cfg, insns) > layer.macs // cfg.macs_per_cycle


def test_products_of_the_next_tile_come_before_the_passes() -> None:
    """With overlap every instruction declares its bank, and one pass at most comes before the next tile's products."""
    cfg = dataclasses.replace(load_preset("pynq-z1"), extensions=frozenset({"overlap"}))
    layer, insns = lower_layer(cfg)
    assert any(insn.opcode == Opcode.ALU for insn in insns)
    work = [insn for insn in insns if insn.opcode in (Opcode.GEMM, Opcode.ALU)]
    assert all(insn["one_bank"] for insn in work)
    assert [insn.opcode for insn in insns].count(Opcode.STORE) > 2
    started = passes = 0
    for insn in work:
        started += insn.opcode == Opcode.GEMM and insn["reset"]
        passes += insn.opcode == Opcode.ALU
        assert started >= 2 or passes <= 1
    assert slice_cycles(cfg, insns) > layer.macs // cfg.macs_per_cycle


def test_timeline_runs_passes_beside_the_products_of_the_other_bank() -> None:
    cfg = load_preset("pynq-z1")
    loops = {"one_bank": 1, "uop_end": 1, "iter_out": 4, "iter_in": 100}
    other = alu(cfg, AluOp.MAX, use_imm=1, **loops)
    insns = [gemm(cfg, **loops), gemm(cfg, **loops), other, other]
    apart, together = (slice_cycles(cfg, insns, banks) for banks in ((0, 1, 0, 0), (0, 0, 0, 0)))
    assert together >= 1600 > 1300 > apart >= 1200
    assert slice_cycles(cfg, insns) >= together


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "classic"])
def test_loops_of_a_dense_layer_go_over_blocks(name: str) -> None:
    cfg = load_preset(name)
    net = QdqBuilder(cfg, seed=4, any_scale="requant" in cfg.extensions)
    size = 6 * cfg.block_in
    x = net.input("x", (cfg.batch, size, 1, 1))
    program = compile(net.model(net.conv(x, "dense", (size, size, 1, 1))), cfg)
    insns = program.instructions()
    assert sum(len(segment.data) for segment in program.segments if segment.name == "uops") < 4 * 36
    assert any(insn["wgt_factor_out"] for insn in insns if insn.opcode == Opcode.GEMM)
    executor = Executor(program, FunctionalDevice(cfg))
    executor.run({"x": np.random.default_rng(1).normal(size=(cfg.batch, size, 1, 1))}, check=True)
    assert executor.report.mismatches == 0
