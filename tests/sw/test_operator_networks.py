"""Whole networks in one region, and operators on the RTL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from operator_models import CONFIGS, images, same_pair
from qdq_models import QdqBuilder
from vta_arch.program import Program, Region
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.frontend import open_session, run_session
from vta_sw.quantize import QConfig, quantize

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NETWORKS = {
    "resnet20.onnx": ("cifar10_calibration_resnet20.npz", 34),
    "mnist_cntk.onnx": ("mnist_calibration_u8.npz", 5),
    "dscnn_kws_float.onnx": ("kws_test_400.npz", 11),
}


def regions(program: Program) -> int:
    return sum(isinstance(step, Region) for step in program.steps)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks and their data are not on this machine")
@pytest.mark.parametrize("name", ["pynq-z1", "int4"])
@pytest.mark.parametrize("file", NETWORKS)
def test_a_whole_network_is_one_region(name: str, file: str) -> None:
    cfg, (data, layers) = CONFIGS[name], NETWORKS[file]
    with np.load(DATA / data) as arrays:
        x = arrays["x" if "x" in arrays.files else arrays.files[0]][:8].astype(np.float32)
    model = onnx.load(DATA / file)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = x.reshape(len(x), *shape[1:])
    program = compile(quantize(model, cfg, x, config=QConfig(edge_bits=None)), cfg, batch=1)
    assert not program.on_cpu
    assert (len(program.layers) + len(program.offload), regions(program)) == (layers, 1)
    executor = Executor(program, FunctionalDevice(cfg))
    executor.run({program.inputs[0]: x[:2]}, check=True)
    assert executor.report.mismatches == 0


def float_network() -> onnx.ModelProto:
    """A float network as an exporter writes it: Split, Concat, Resize, constants, ReduceMean that drops its axes."""
    rng = np.random.default_rng(5)
    arrays = {
        "w1": rng.normal(0, 0.3, (12, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.3, (10, 21)).astype(np.float32),
        "parts": np.array([7, 5], np.int64),
        "size": np.array([1, 1, 2, 2], np.float32),
        "gain": rng.uniform(0.5, 1.5, (1, 12, 1, 1)).astype(np.float32),
        "shift": np.array(0.25, np.float32),
        "slope_free": np.array(1.5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c"], ["l"], name="leaky", alpha=0.1),
        helper.make_node("MaxPool", ["l"], ["m"], name="max", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Mul", ["m", "gain"], ["g"], name="gain"),
        helper.make_node("Split", ["g", "parts"], ["s0", "s1"], name="split", axis=1),
        helper.make_node("Add", ["s0", "shift"], ["a"], name="shift"),
        helper.make_node("Div", ["s1", "slope_free"], ["d"], name="div"),
        helper.make_node("Concat", ["a", "d"], ["j"], name="join", axis=1),
        helper.make_node("Resize", ["j", "", "size"], ["r"], name="resize", mode="nearest"),
        helper.make_node("AveragePool", ["r"], ["v"], name="mean", kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Concat", ["v", "v0"], ["k"], name="again", axis=1),
        helper.make_node("ReduceMean", ["k"], ["f"], name="reduce", axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["f", "w2"], ["y"], name="dense", transB=1),
    ]
    nodes.insert(10, helper.make_node("Slice", ["v", "three", "end", "one"], ["v0"], name="slice"))
    arrays |= {key: np.array([value], np.int64) for key, value in (("three", 3), ("end", 99), ("one", 1))}
    ends = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])]
    begins = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 12, 12])]
    held = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "float", begins, ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_quantized_operators_stay_together(name: str) -> None:
    """The quantizer puts its pairs so that every operator becomes a layer."""
    cfg, x = CONFIGS[name], images((3, 12, 12), 6)
    model = quantize(float_network(), cfg, x, config=QConfig(edge_bits=None))
    program = compile(model, cfg)
    coarse = cfg.wgt_width < 8  # sums with constants, and a slope of 1/10, need finer weights
    assert coarse or (len(program.layers), regions(program)) == (15, 1), program.offload
    assert set(program.offload) <= ({"leaky", "shift"} if coarse else set())
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    exact = run_session(open_session(float_network()), ["y"], {"x": x})[0]
    assert np.abs(found - exact).max() <= (0.5 if coarse else 0.05) * np.abs(exact).max()


def every_operator(cfg_name: str, *, any_scale: bool = True) -> onnx.ModelProto:
    """A network with each operator once, behind each other."""
    net = QdqBuilder(CONFIGS[cfg_name], 3, any_scale=any_scale)
    x = net.input("x", ("N", 6, 10, 12))
    pooled = same_pair(net, net.node("MaxPool", [x], "max", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]), x)
    leaky = net.pair(net.node("LeakyRelu", [pooled], "leaky", alpha=0.5), -3)
    joined = net.pair(net.node("Concat", [pooled, leaky], "join", axis=1), -3)
    factors = net.constant("factors", np.linspace(0.5, 1.5, 12, dtype=np.float32).reshape(12, 1, 1))
    scaled = net.pair(net.node("Mul", [joined, factors], "scale"), -3)
    offset = net.constant("offset", np.float32(2.5 * net.scales[scaled]))  # weights of 4 bits reach halves of a step
    moved = net.pair(net.node("Add", [scaled, offset], "offset_by"), -3)
    mean = net.pair(net.node("AveragePool", [moved], "mean", kernel_shape=[2, 2], strides=[2, 2]), -3)
    size = net.constant("size", np.array([1, 1, 2, 1], np.float32))
    large = same_pair(net, net.node("Resize", [mean, "", size], "large", mode="nearest"), mean)
    bounds = [net.constant(f"b{i}", np.array([v], np.int64)) for i, v in enumerate((2, 9, 1))]
    part = same_pair(net, net.node("Slice", [large, *bounds], "part"), large)
    wide = net.node("Pad", [part, net.constant("pads", np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))], "wide")
    flat = net.node("Flatten", [same_pair(net, wide, part)], "flat")
    return net.model(net.conv(flat, "dense", (5, 245, 1, 1), dense=True))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "no-depthwise", "unsigned"])
def test_every_operator_behind_each_other(name: str) -> None:
    cfg, x = CONFIGS[name], images((6, 10, 12))
    model = every_operator(name)
    program = compile(model, cfg)
    assert (len(program.layers), regions(program)) == (10, 1), program.offload
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)[program.outputs[0]]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    expected = run_session(open_session(model, exact=True), [program.outputs[0]], {"x": x})[0]
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


def test_every_operator_on_the_rtl() -> None:
    cfg = CONFIGS["tiny"]
    program = compile(every_operator("tiny"), cfg)
    with RtlDevice(cfg) as device:
        executor = Executor(program, device)
        executor.run({"x": images((6, 10, 12), 2)}, check=True)
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
