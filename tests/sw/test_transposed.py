"""Transposed convolutions: any geometry, bit for bit, near onnxruntime, through our quantizer, and on the RTL."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from operator_models import ANY_SCALE, CONFIGS, check, images
from qdq_models import QdqBuilder
from test_cost_model import LIMIT, measured
from vta_arch.config import VTAConfig
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.cycles.program import layer_cycles
from vta_sw.cycles.timing import REFERENCE_MEMORY
from vta_sw.frontend import open_session, run_session
from vta_sw.frontend.transposed import input_first, output_first
from vta_sw.quantize import QConfig, quantize

# Input (channels, height, width), output channels, kernel, attributes.
Case = tuple[tuple[int, int, int], int, tuple[int, int], dict[str, Any]]
CASES: tuple[Case, ...] = (
    ((5, 6, 7), 9, (3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),  # an odd size: rows are stored one by one
    ((20, 9, 10), 20, (4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((20, 5, 6), 40, (2, 2), {"strides": [2, 2]}),
    ((4, 5, 6), 6, (1, 1), {"strides": [2, 3], "output_padding": [1, 2]}),  # outputs without taps
    ((4, 5, 6), 6, (3, 2), {"strides": [3, 2], "dilations": [2, 3], "output_padding": [1, 1]}),
    ((4, 5, 6), 6, (3, 3), {"strides": [2, 2], "dilations": [2, 2], "pads": [2, 0, 1, 3]}),
    ((12, 5, 6), 18, (3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1], "group": 3}),
    ((17, 5, 6), 17, (4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 17}),
    ((6, 9, 9), 8, (3, 3), {"strides": [1, 1], "pads": [1, 1, 1, 1]}),
    ((6, 9, 9), 8, (3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((6, 9, 9), 8, (3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((6, 9, 9), 8, (3, 3), {"strides": [2, 2], "output_shape": [18, 18]}),
    ((6, 9, 9), 8, (3, 3), {"strides": [2, 2], "pads": [4, 4, 4, 4]}),  # more than the kernel reaches
    ((6, 9, 9), 8, (2, 2), {"strides": [1, 2], "pads": [2, 2, 2, 2]}),
)


def network(cfg: VTAConfig, seed: int, case: Case, *, any_scale: bool = True) -> tuple[onnx.ModelProto, float]:
    """A QDQ network of one layer, and the scale of its output."""
    (channels, *size), outputs, kernel, named = case
    net = QdqBuilder(cfg, seed, any_scale=any_scale)
    x = net.input("x", ("N", channels, *size))
    group = named.get("group", 1)
    spread = 2 * np.log2(max(2, channels * np.prod(kernel) / group / np.prod(named["strides"]))) / 4
    weight = net.weight("w", (channels, outputs // group, *kernel), np.full(1, 1 - np.ceil(spread) - cfg.wgt_width))
    scales = np.broadcast_to(net.weight_scales * np.float32(net.scales[x]), (outputs,)).copy()
    made = net.node("ConvTranspose", [x, weight, net.bias("b", scales, 64)], "layer", **named)
    y = net.pair(made, -3)
    return net.model(y), net.scales[y]


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "classic", "no-overlap", "batch2"])
def test_one_layer_beside_onnxruntime(name: str) -> None:
    cfg, apart = CONFIGS[name], []
    for seed, case in enumerate(CASES):
        model, scale = network(cfg, seed, case, any_scale=name in ANY_SCALE)
        program, steps = check(model, cfg, {"x": images(case[0], 2)}, scale, 1)
        assert program.layers[0].op == ("conv" if max(case[3]["strides"]) == 1 else "conv_transpose")
        apart.append(steps.reshape(-1))
    found = np.concatenate(apart)
    assert found.max() <= 1
    # Where passes requantize halves are rounded up, onnxruntime rounds them to even.
    assert np.count_nonzero(found) <= (1e-4 if name in ANY_SCALE else 2e-2) * found.size + 1


@pytest.mark.parametrize("name", ["tiny", "int4", "pynq-z1"])
def test_on_the_rtl(name: str) -> None:
    cfg = CONFIGS[name]
    with RtlDevice(cfg) as device:
        for seed, case in enumerate(CASES[:8] if name == "tiny" else CASES[:3]):
            executor = Executor(compile(network(cfg, seed, case)[0], cfg), device)
            found = executor.run({"x": images(case[0], 1)}, check=True)
            assert executor.report.mismatches == 0, case
            assert next(iter(found.values())).std() > 0


@pytest.mark.parametrize("name", ["tiny", "pynq-z1"])
def test_cycles_of_the_model_beside_the_rtl(name: str) -> None:
    cfg = CONFIGS[name]
    program = compile(network(cfg, 1, CASES[1])[0], cfg, batch=1)
    layer = program.layers[0]
    expected = measured(program, REFERENCE_MEMORY)[layer.name]
    assert abs(layer_cycles(program, layer.name, REFERENCE_MEMORY) - expected) <= LIMIT * expected
    assert layer.macs == 20 * 20 * 16 * 9 * 10


def float_network() -> onnx.ModelProto:
    """A decoder as PyTorch exports it: transposed convolutions, BatchNormalization, a bias added, groups."""
    rng = np.random.default_rng(3)
    shapes = {
        "w0": (12, 6, 3, 3),
        "w1": (12, 20, 4, 4),
        "w2": (20, 4, 3, 3),
        "gamma": (20,),
        "beta": (20,),
        "mean": (20,),
    }
    arrays = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {"var": rng.uniform(0.5, 2, 20).astype(np.float32), "b": rng.normal(0, 1, (8, 1, 1)).astype(np.float32)}
    two = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ConvTranspose", ["r", "w1"], ["t"], name="up1", **two),
        helper.make_node("BatchNormalization", ["t", "gamma", "beta", "mean", "var"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["m"], name="relu2"),
        helper.make_node("ConvTranspose", ["m", "w2"], ["u"], name="up2", group=2, output_padding=[1, 1], **two),
        helper.make_node("Add", ["u", "b"], ["y"], name="bias"),
    ]
    ends = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 8, 24, 28])]
    begins = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 6, 6, 7])]
    held = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "decoder", begins, ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "classic"])
def test_our_quantizer(name: str) -> None:
    """BatchNormalization and bias go into the weights; channels of a group share scales as ONNX wants it."""
    cfg, x = CONFIGS[name], images((6, 6, 7), 6) / 4
    model = quantize(float_network(), cfg, x, config=QConfig(edge_bits=None))
    program = compile(model, cfg)
    assert [layer.op for layer in program.layers] == ["conv", "conv_transpose", "conv_transpose"], program.offload
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    exact = run_session(open_session(float_network()), ["y"], {"x": x})[0]
    quantized = run_session(open_session(model, exact=True), ["y"], {"x": x})[0]
    error = np.abs(found - exact).std() / exact.std()
    assert error <= (0.4 if cfg.wgt_width < 8 else 0.04)
    assert np.abs(found - quantized).std() <= 0.01 * exact.std()


def test_weights_by_outputs_and_back() -> None:
    weight = np.arange(6 * 2 * 2 * 3).reshape(6, 2, 2, 3)
    turned = output_first(weight, 3)
    assert turned.shape == (6, 2, 2, 3)
    assert np.array_equal(turned[2:4, 1], weight[3])
    assert np.array_equal(input_first(turned, 3), weight)
    assert output_first(weight[:, :1], 2).shape == (2, 3, 2, 3)


def test_what_cannot_run_says_why() -> None:
    cfg = CONFIGS["tiny"]
    model, _ = network(cfg, 1, ((4, 20, 4), 4, (1, 1), {"strides": [1, 1], "pads": [0, 0, 0, 0]}))
    assert compile(model, cfg).layers[0].op == "conv"
    wide, _ = network(cfg, 1, ((4, 4, 4), 4, (33, 33), {"strides": [2, 2]}))
    program = compile(wide, cfg)
    assert not program.layers
    assert "padding of 16 is not from 0 to 15" in program.offload["layer"]
    other, _ = network(cfg, 1, ((4, 4, 4), 4, (3, 3), {"strides": [2, 2], "kernel_shape": [5, 5]}))
    assert "its kernel_shape is [5, 5]" in compile(other, cfg).offload["layer"]
