"""MatMul of [N, rows, features] by a constant matrix: rows of a dense layer, with what stands around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from operator_models import ANY_SCALE, CONFIGS, check, images, same_pair
from qdq_models import QdqBuilder
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.program import Program, Region
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.frontend import open_session, run_session
from vta_sw.quantize import QConfig, quantize


def rows_times(
    net: QdqBuilder, x: str, name: str, shape: tuple[int, int], *, bias: bool = True, relu: bool = False
) -> str:
    """MatMul by a weight [in, out], Add of a bias, Relu."""
    high = 1 if net.cfg.wgt_width < 4 else 7
    stored = net.integers(f"{name}_wq", net.rng.integers(-high, high + 1, shape), net.cfg.wgt_width)
    scales = net.spread(np.full(shape[1], 2.0**-5)).astype(np.float32)
    weight = net.node("DequantizeLinear", [stored, net.constant(f"{name}_s", scales)], f"{name}_w", axis=1)
    y = net.node("MatMul", [x, weight], name)
    if bias:
        y = net.node("Add", [y, net.bias(f"{name}_b", np.float32(net.scales[x]) * scales, 64)], f"{name}_add")
    if relu:
        y = net.node("Relu", [y], f"{name}_relu")
    return net.pair(y, -2)


def mixer(cfg: VTAConfig, *, any_scale: bool) -> onnx.ModelProto:
    """Two dense layers with a residual add, a product for each feature, one without bias, all rows into a Gemm."""
    net = QdqBuilder(cfg, 4, any_scale=any_scale)
    x = net.input("x", ("N", 19, 20))
    wide = rows_times(net, x, "up", (20, 40), relu=True)
    back = rows_times(net, wide, "down", (40, 20))
    total = net.pair(net.node("Add", [x, back], "total"), -2)
    factors = np.linspace(0.5, 1.5, 20, dtype=np.float32) if any_scale else np.full(20, 0.5, np.float32)
    gained = net.pair(net.node("Mul", [total, net.constant("factors", factors)], "gain"), -2)
    short = rows_times(net, gained, "short", (20, 9), bias=False)
    flat = net.node("Flatten", [short], "flat")
    return net.model(net.conv(flat, "dense", (5, 171, 1, 1), dense=True))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "classic", "unsigned", "batch2"])
def test_rows_beside_onnxruntime(name: str) -> None:
    cfg = CONFIGS[name]
    model = mixer(cfg, any_scale=name in ANY_SCALE)
    program, apart = check(model, cfg, {"x": images((19, 20), 2)}, 0.125, 6)
    assert [layer.op for layer in program.layers] == ["conv", "conv", "add", "conv", "conv", "conv"]
    assert sum(isinstance(step, Region) for step in program.steps) == 1
    assert program.layers[0].macs == program.batch * 19 * 20 * 40
    # Steps of one layer's rounding grow through those behind it.
    assert apart.max() <= 3


@pytest.mark.parametrize("name", ["tiny", "int4"])
def test_rows_on_the_rtl(name: str) -> None:
    cfg = CONFIGS[name]
    with RtlDevice(cfg) as device:
        executor = Executor(compile(mixer(cfg, any_scale=True), cfg), device)
        executor.run({"x": images((19, 20), 1)}, check=True)
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer


def tokens(cfg: VTAConfig) -> onnx.ModelProto:
    """Positions of an image as rows, dense layers with a residual add on them, back to an image and flattened."""
    net = QdqBuilder(cfg, 2, any_scale=True)
    image = net.conv(net.input("x", ("N", 5, 6, 7)), "conv", (20, 5, 2, 2))
    lines = same_pair(net, net.node("Reshape", [image, net.constant("s1", np.array([0, 20, 30]))], "lines"), image)
    rows = same_pair(net, net.node("Transpose", [lines], "turn", perm=[0, 2, 1]), image)
    made = rows_times(net, rows_times(net, rows, "up", (20, 40), relu=True), "down", (40, 20))
    total = net.pair(net.node("Add", [rows, made], "total"), -2)
    back = same_pair(net, net.node("Transpose", [total], "back", perm=[0, 2, 1]), total)
    again = same_pair(net, net.node("Reshape", [back, net.constant("s2", np.array([0, 20, 5, 6]))], "again"), total)
    last = net.conv(again, "last", (12, 20, 3, 3), pads=[1, 1, 1, 1])
    # As exporters of channels-last networks flatten: the weights follow.
    behind = same_pair(net, net.node("Transpose", [last], "behind", perm=[0, 2, 3, 1]), last)
    return net.model(net.conv(net.node("Flatten", [behind], "flat"), "dense", (5, 360, 1, 1), dense=True))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "batch2"])
def test_moves_that_tiles_do_not_see(name: str, tmp_path: Path) -> None:
    """[N, C, H, W] and [N, H * W, C] are the same tiles."""
    cfg = CONFIGS[name]
    program, apart = check(tokens(cfg), cfg, {"x": images((5, 6, 7))}, 0.125, None)
    assert not program.on_cpu
    assert sum(isinstance(step, Region) for step in program.steps) == 1
    assert apart.max() <= 3
    program.save(tmp_path / "p.vta")
    assert len(Program.load(tmp_path / "p.vta").layers) == len(program.layers)


def test_a_transpose_that_moves_stays_on_the_cpu() -> None:
    cfg = CONFIGS["tiny"]
    net = QdqBuilder(cfg, 2, any_scale=True)
    y = net.conv(net.input("x", ("N", 5, 6, 6)), "conv", (6, 5, 1, 1))
    turned = same_pair(net, net.node("Transpose", [y], "turn", perm=[0, 2, 1, 3]), y)
    program, apart = check(net.model(net.conv(turned, "last", (4, 6, 1, 1))), cfg, {"x": images((5, 6, 6))}, 0.125, 2)
    assert "moves values between tiles" in program.offload["turn"]
    assert apart.max() <= 1


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_our_quantizer_takes_rows(name: str) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng(1)
    arrays = {"w1": rng.normal(0, 0.3, (20, 30)), "b1": rng.normal(0, 1, 30), "w2": rng.normal(0, 0.3, (30, 20))}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"], name="first"),
        helper.make_node("Add", ["b1", "m"], ["a"], name="bias"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["n"], name="second"),
        helper.make_node("Add", ["x", "n"], ["y"], name="sum"),
    ]
    shape = ["N", 12, 20]
    ends = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)]
    begins = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    held = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in arrays.items()]
    graph = helper.make_graph(nodes, "rows", begins, ends, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = images((12, 20), 5)
    program = compile(quantize(model, cfg, x, config=QConfig(edge_bits=None)), cfg)
    assert not program.on_cpu
    assert len(program.layers) <= 3, program.offload
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0
    exact = run_session(open_session(model), ["y"], {"x": x})[0]
    assert np.abs(found - exact).std() <= (0.3 if cfg.wgt_width < 8 else 0.03) * exact.std()


@pytest.mark.parametrize("name", ["tiny", "pynq-z1"])
def test_a_residual_add_on_rows_of_an_image(name: str) -> None:
    """Convolution, rows and residual add from our quantizer: fused, and read through the reshape."""
    cfg, rng = CONFIGS[name], np.random.default_rng(2)
    sizes = {"w0": (24, 5, 2, 2), "w1": (24, 30), "b1": (30,), "w2": (30, 24), "b2": (24,)}
    arrays = {key: rng.normal(0, 0.3, size).astype(np.float32) for key, size in sizes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="patch", strides=[2, 2]),
        helper.make_node("Reshape", ["c", "lines"], ["l"], name="lines"),
        helper.make_node("Transpose", ["l"], ["t"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "w1"], ["m"], name="first"),
        helper.make_node("Add", ["m", "b1"], ["a"], name="bias1"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["n"], name="second"),
        helper.make_node("Add", ["n", "b2"], ["d"], name="bias2"),
        helper.make_node("Add", ["t", "d"], ["y"], name="sum"),
    ]
    ends = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 12, 24])]
    begins = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 5, 6, 8])]
    held = [numpy_helper.from_array(value, key) for key, value in (arrays | {"lines": np.array([0, 24, 12])}).items()]
    graph = helper.make_graph(nodes, "patches", begins, ends, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = images((5, 6, 8), 5)
    program = compile(quantize(model, cfg, x), cfg)
    assert not program.on_cpu
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    exact = run_session(open_session(model), ["y"], {"x": x})[0]
    assert np.abs(found - exact).std() <= 0.03 * exact.std()


@pytest.mark.parametrize("batch", [1, 2, None])
def test_several_rows_of_each_image(batch: int | None) -> None:
    """[N, C, H, W] made [N * C, H * W]: calibration and fitting see all rows, and a run gives all of them."""
    weight, after = (
        numpy_helper.from_array(np.random.default_rng(1).normal(size=size).astype(np.float32), name)
        for name, size in (("w", (16, 6)), ("v", (4, 5, 1, 1)))
    )
    shape = numpy_helper.from_array(np.array([batch or -1, 5, 2, 3]), "shape")
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flat", axis=2),
        helper.make_node("MatMul", ["f", "w"], ["m"], name="dense"),
        helper.make_node("Relu", ["m"], ["y"], name="relu"),
        helper.make_node("Reshape", ["y", "shape"], ["r"], name="again"),
        helper.make_node("Conv", ["r", "v"], ["z"], name="conv"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size)]
        for name, size in (("x", [batch or "N", 5, 4, 4]), ("y", None))
    ]
    ends[1].append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "rows", *ends, [weight, after, shape])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    x = np.random.default_rng(2).normal(size=(3, 5, 4, 4)).astype(np.float32)
    x[:, 0] /= 50  # what is true of an image's first row is not true of the others
    cfg = load_preset("pynq-z1")
    made = quantize(model, cfg, x)
    found = Executor(compile(made, cfg), FunctionalDevice(cfg)).run({"x": x}, check=True)["y"]
    wanted = np.maximum(x.reshape(15, 16) @ numpy_helper.to_array(weight), 0)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 0.02 * wanted.max()
