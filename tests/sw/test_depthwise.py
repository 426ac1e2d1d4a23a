"""Depthwise convolutions: weight tiles, lowered layers bit for bit, and a separable network beside onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from qdq_models import QdqBuilder
from test_compiler_random import CONFIGS as RANDOM_CONFIGS
from test_compiler_random import compare
from test_requant_networks import steps_apart
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Opcode
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.frontend import open_session, run_session
from vta_sw.lower.depthwise_steps import depthwise_steps, depthwise_tiles
from vta_sw.lower.errors import NotLowerableError
from vta_sw.lower.geometry import Axis, ConvGeometry
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import QConfig, quantize

DATA = Path(__file__).parents[3] / "shared" / "data"
BOTH = frozenset({"overlap", "depthwise"})
CONFIGS = {
    **{name: replace(load_preset(name), extensions=BOTH) for name in ("tiny", "pynq-z1", "int4")},
    "8x8-batch2": VTAConfig(
        batch=2,
        block_in=8,
        block_out=8,
        log_uop_buff=10,
        log_inp_buff=12,
        log_wgt_buff=12,
        log_acc_buff=14,
        extensions=BOTH,
    ),
    "requant": replace(load_preset("pynq-z1"), extensions=BOTH | {"requant", "pad_value"}),
    "tiny-requant": replace(load_preset("tiny"), extensions=BOTH | {"requant"}),
    "no-overlap": replace(load_preset("pynq-z1"), extensions=frozenset({"depthwise"})),
    "no-opcode": replace(load_preset("pynq-z1"), extensions=frozenset({"overlap"})),
    "base": replace(load_preset("tiny"), extensions=frozenset()),
}
SHAPES = [
    # height and width, kernel, strides, pads
    ((7, 7), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((8, 8), (3, 3), (2, 2), (0, 0, 1, 1)),
    ((9, 12), (5, 5), (1, 1), (2, 2, 2, 2)),
    ((11, 7), (5, 5), (2, 2), (2, 2, 2, 2)),
    ((6, 9), (1, 3), (1, 1), (0, 1, 0, 0)),
    ((6, 9), (3, 1), (2, 1), (1, 0, 1, 0)),
    ((1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (3, 3), (2, 2), (0, 0, 0, 0)),
    ((13, 10), (2, 4), (3, 4), (0, 1, 1, 2)),
]


def layer_model(cfg: VTAConfig, shape: tuple[int, ...], kernel: tuple[int, int], **attributes: Any) -> onnx.ModelProto:
    """A network of one depthwise layer on an input [N, *shape], quantized at random; scales as general as can be."""
    net = QdqBuilder(
        cfg, 3, any_scale="requant" in cfg.extensions, zero_points=30 if "pad_value" in cfg.extensions else 0
    )
    x = net.input("x", ("N", *shape))
    return net.model(net.conv(x, "layer", (shape[0], 1, *kernel), group=shape[0], **attributes))


def slice_of(executor: Executor) -> list[Insn]:
    layer = executor.program.layers[0]
    return executor.program.instructions()[layer.first : layer.first + layer.count]


CORE = ("tiny", "pynq-z1", "int4")
LAYERS = [(name, shape) for name in CONFIGS for shape in (SHAPES if name in CORE else SHAPES[:4])]


@pytest.mark.parametrize(("name", "shape"), LAYERS, ids=str)
def test_layer(name: str, shape: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, ...]]) -> None:
    cfg, (size, kernel, strides, pads) = CONFIGS[name], shape
    model = layer_model(cfg, (21, *size), kernel, strides=strides, pads=pads, relu=True)
    executor = compare(model, cfg, (21, *size), batch=3)
    assert [layer.name for layer in executor.program.layers] == ["layer"]
    opcodes = {insn.opcode for insn in slice_of(executor)}
    assert (Opcode.DEPTHWISE in opcodes) == ("depthwise" in cfg.extensions)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "8x8-batch2", "requant", "no-overlap"])
def test_random_layer(name: str, seed: int) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng([seed, 7])
    kernel = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    dilations = [int(d) for d in rng.integers(1, 3, 2)]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = [int(rng.integers(0, r + 1)) for r in (*reach, *reach)]
    shape = (int(rng.integers(2, 70)), *(int(rng.integers(r + 1, r + 30)) for r in reach))
    strides = [int(s) for s in rng.integers(1, 4, 2)]
    model = layer_model(cfg, shape, kernel, strides=strides, pads=pads, dilations=dilations)
    executor = compare(model, cfg, shape, batch=int(rng.integers(1, 4)))
    assert executor.program.layers or name == "tiny", executor.program.offload


@pytest.mark.parametrize("name", ["batch2", "unsigned", "acc16", "int2", "w4a8", "classic"])
def test_other_configurations(name: str) -> None:
    """Every width, with and without the opcode; tiles of several blocks, and of parts of a row."""
    kept = RANDOM_CONFIGS[name].extensions & {"overlap"}
    for extensions in (kept, kept | {"depthwise"}):
        cfg = replace(RANDOM_CONFIGS[name], extensions=extensions)
        for shape in ((40, 5, 5), (9, 4, 61)):
            executor = compare(layer_model(cfg, shape, (3, 3), pads=[1, 1, 1, 1]), cfg, shape, batch=2)
            assert len(executor.program.layers) == 1


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "8x8-batch2", "no-overlap", "no-opcode"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (2, 3, 2), (1, 1, 1)])
def test_weight_tiles(name: str, kernel: int, stride: int, dilation: int) -> None:
    """The steps' sums, as the opcode defines them, are the convolution's."""
    cfg, rng = CONFIGS[name], np.random.default_rng(kernel)
    axis = Axis(30, 6, kernel, stride, dilation, 0, 0)
    geometry = ConvGeometry(1, 2, 2, axis, axis)
    steps = depthwise_steps(cfg, geometry)
    channels = 2 * cfg.block_out - 1
    weight = rng.integers(-7, 8, (channels, 1, kernel, kernel))
    tiles = depthwise_tiles(cfg, geometry, steps, weight)
    assert tiles.shape == (2, len(steps.places), cfg.block_out, cfg.block_in)
    x = rng.integers(-8, 8, (2, cfg.block_in, 30, 30))
    sums = np.zeros((steps.written, 2, cfg.block_out), np.int64)
    for number, (row, column) in enumerate(steps.places):
        read = x[:, :, row * dilation, column : column + steps.taps]
        for output, block, channel in np.ndindex(*sums.shape):
            tile = tiles[block, number, channel]
            if steps.opcode == Opcode.GEMM:
                sums[output, block, channel] += tile @ read[block, :, 0]
                continue
            for c, tap in np.ndindex(2, cfg.depthwise_taps):
                value = read[block, 2 * (channel // 2) + c, tap]
                sums[output, block, channel] += value * tile[(2 * output + c) * cfg.depthwise_taps + tap]
    span = (kernel - 1) * dilation + 1
    for output in range(steps.written):
        window = x[:, :, :span:dilation, output * stride : output * stride + span : dilation]
        expected = (window.reshape(channels + 1, -1)[:channels] * weight.reshape(channels, -1)).sum(axis=1)
        found = sums[output].reshape(-1)[:channels]
        assert np.array_equal(found, expected if output < steps.outputs else np.zeros(channels))


def test_steps_of_two_outputs() -> None:
    """A 3x3 kernel takes three steps: for two outputs at stride 1, for one at stride 2 or without the second."""
    wide, narrow = CONFIGS["pynq-z1"], CONFIGS["8x8-batch2"]
    for cfg, stride, outputs, steps in ((wide, 1, 2, 3), (wide, 2, 1, 3), (narrow, 1, 1, 3), (narrow, 2, 1, 3)):
        axis = Axis(30, 6, 3, stride, 1, 0, 0)
        found = depthwise_steps(cfg, ConvGeometry(1, 1, 1, axis, axis))
        assert (found.outputs, len(found.places)) == (outputs, steps)


def test_each_row_is_made_in_one_instruction_a_block() -> None:
    cfg = CONFIGS["pynq-z1"]
    executor = compare(layer_model(cfg, (16, 7, 7), (3, 3), pads=[1, 1, 1, 1]), cfg, (16, 7, 7))
    insns = [insn for insn in slice_of(executor) if insn.opcode == Opcode.DEPTHWISE]
    assert all(insn["reset"] and insn["one_bank"] for insn in insns)
    assert sum(insn["iter_out"] * insn["iter_in"] * (insn["uop_end"] - insn["uop_bgn"]) for insn in insns) == 7 * 4 * 3


def test_program_file_keeps_the_layer(tmp_path: Path) -> None:
    cfg = CONFIGS["tiny"]
    program = compile(layer_model(cfg, (6, 5, 5), (3, 3)), cfg)
    program.save(tmp_path / "layer.vta")
    loaded = Program.load(tmp_path / "layer.vta")
    assert loaded.layers == program.layers
    assert loaded.arrays["layer/weight"].shape == (6, 1, 3, 3)


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        (VTAConfig(block_in=16, block_out=4, log_wgt_buff=12, log_acc_buff=12), "equal blocks"),
        (VTAConfig(wgt_width=1, log_wgt_buff=12), "cannot be 0"),
    ],
)
def test_without_opcode_or_diagonal_there_is_a_reason(cfg: VTAConfig, reason: str) -> None:
    axis = Axis(6, 4, 3, 1, 1, 0, 0)
    with pytest.raises(NotLowerableError, match=reason):
        depthwise_steps(cfg, ConvGeometry(1, 1, 1, axis, axis))


def test_too_large_kernel_has_a_reason() -> None:
    cfg = CONFIGS["tiny"]
    program = compile(layer_model(cfg, (4, 40, 40), (31, 31)), cfg)
    assert "weight tiles; configuration tiny holds" in program.offload["layer"]


@pytest.mark.parametrize(("name", "ties"), [("tiny", 0.02), ("pynq-z1", 0.02), ("int4", 0.1)])
def test_layer_beside_onnxruntime(name: str, ties: float) -> None:
    """By shifts, half up here, half to even there: one step more where a sum lies between two steps, else equal."""
    cfg = CONFIGS[name]
    model = layer_model(cfg, (21, 9, 9), (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    x = {"x": np.random.default_rng(2).normal(0, 4, (4, 21, 9, 9)).astype(np.float32)}
    program = compile(model, cfg)
    found = Executor(program, FunctionalDevice(cfg)).run(x)[program.outputs[0]]
    expected = run_session(open_session(model, exact=True), [program.outputs[0]], x)[0]
    steps = (found - expected) * 8
    assert set(np.unique(steps)) <= {0, 1}
    assert (steps != 0).mean() < ties


@pytest.mark.parametrize("name", ["requant", "tiny-requant"])
def test_requantized_layer_beside_onnxruntime(name: str) -> None:
    """Any scales, and with pad_value zero points: at most one output in 10,000 differs, by one step."""
    cfg = CONFIGS[name]
    model = layer_model(cfg, (21, 24, 24), (3, 3), pads=[1, 1, 1, 1])
    scale = next(numpy_helper.to_array(item) for item in model.graph.initializer if item.name == "layer_scale")
    apart = steps_apart(model, cfg, (21, 24, 24), 1, float(scale))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size


def separable_network() -> onnx.ModelProto:
    """Depthwise and pointwise convolutions in turn, each with a fused Clip; its last tensor is ``output``."""
    net = NetworkBuilder("separable", 5, (3, 15, 15))
    out = net.clip("stem6", net.conv("stem", "input", 10, 3, stride=2, bias=True), 0.0, 6.0)
    for number, (channels, stride) in enumerate(((18, 1), (24, 2), (24, 1))):
        groups = net.channels(out)
        deep = net.conv(f"deep{number}", out, groups, 3, stride=stride, group=groups)
        deep = net.clip(f"deep6{number}", net.batch_norm(f"norm{number}", deep), 0.0, 6.0)
        out = net.clip(f"wide6{number}", net.conv(f"wide{number}", deep, channels, 1, bias=True), 0.0, 6.0)
    return net.model(net.dense("dense", net.flatten("flat", net.global_average_pool("pool", out)), 5))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "8x8-batch2", "requant", "tiny-requant"])
def test_separable_network(name: str) -> None:
    """Through quantizer and compiler: the simulator equals the reference, and with 8 bits nearly onnxruntime."""
    cfg, x = CONFIGS[name], np.random.default_rng(1).normal(size=(12, 3, 15, 15)).astype(np.float32)
    model = quantize(separable_network(), cfg, x, config=QConfig(edge_bits=None))
    program = compile(model, cfg)
    convolutions = {f"{kind}{number}" for kind in ("deep", "wide") for number in range(3)}
    assert {layer.name for layer in program.layers} == {"stem", "pool", "dense", *convolutions}
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"input": x}, check=True)["output"]
    assert executor.report.mismatches == 0
    expected = run_session(open_session(model, exact=True), ["output"], {"input": x})[0]
    if cfg.inp_width == 8:
        assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks and their data are not on this machine")
def test_keyword_network_equals_onnxruntime() -> None:
    """DS-CNN with the scales and zero points of another quantizer: all layers, each bit for bit."""
    cfg, file = CONFIGS["requant"], DATA / "dscnn_kws_int8_qdq.onnx"
    program = compile(file, cfg, batch=1)
    assert len(program.layers) == 11
    assert not program.offload
    with np.load(DATA / "kws_test_400.npz") as arrays:
        x = {program.inputs[0]: arrays["x"][:8].astype(np.float32)}
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run(x, check=True)[program.outputs[0]]
    assert executor.report.mismatches == 0
    expected = run_session(open_session(onnx.load(file), exact=True), [program.outputs[0]], x)[0]
    assert np.array_equal(found, expected)
