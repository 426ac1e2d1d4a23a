"""Forms of quantized networks that no tool at hand makes: by hand, each against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import ALLOWED, Distance, compare
from onnx import TensorProto, helper, numpy_helper
from vta_arch.presets import load_preset
from vta_sw.frontend import prepare

PRESETS = ("tiny", "pynq-z1", "zcu104")


class Net:
    """A network written node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, kind: type[np.generic] = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def node(self, op: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def integers(self, shape: tuple[int, ...], kind: type[np.integer] = np.int8) -> str:
        limits = np.iinfo(kind)
        return self.constant(self.rng.integers(limits.min, limits.max + 1, shape), kind)

    def model(self, x: tuple[int, list[int | str]], y: tuple[int, list[int | str]]) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info(name, *value) for name, value in (("x", x), ("y", y))]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def assert_close(found: Distance, layers: int) -> None:
    assert len(found.layers) >= layers, found.on_cpu
    for name, (differing, size) in found.layers.items():
        assert differing <= max(1, ALLOWED * size), f"{name}: {differing} of {size}"


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("preset", PRESETS)
def test_integers_in_and_out(preset: str, kind: type[np.integer]) -> None:
    """A network of one QLinearConv: inputs and outputs are integers of either type, whatever the accelerator's is."""
    net = Net()
    number = TensorProto.UINT8 if kind is np.uint8 else TensorProto.INT8
    scale = [net.constant(value) for value in (0.02, 0.01, 0.4)]
    zeros = [net.constant(100 if kind is np.uint8 else 3, kind), net.constant(0, np.int8), net.constant(17, kind)]
    bias = net.constant(net.rng.integers(-500, 500, 12), np.int32)
    inputs = ["x", scale[0], zeros[0], net.integers((12, 5, 3, 3)), scale[1], zeros[1], scale[2], zeros[2], bias]
    net.node("QLinearConv", inputs, "y", pads=[1, 1, 1, 1])
    model = net.model((number, ["N", 5, 6, 6]), (number, ["N", 12, 6, 6]))
    limits = np.iinfo(kind)
    x = np.random.default_rng(1).integers(limits.min, limits.max + 1, (3, 5, 6, 6)).astype(kind)
    found = compare(model, load_preset(preset), {"x": x})
    assert_close(found, 1)
    assert found.found["y"].dtype == kind
    assert np.count_nonzero(found.found["y"] != found.expected["y"]) <= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_fake_quantization(preset: str) -> None:
    """As PyTorch's exporters write it: weights are float tensors behind QuantizeLinear, biases stay float."""
    net = Net()
    pair = [net.constant(0.05), net.constant(0, np.int8)]

    def quantized(x: str, name: str, parameters: list[str], **options: int) -> str:
        made = net.node("QuantizeLinear", [x, *parameters], f"{name}_q", **options)
        return net.node("DequantizeLinear", [made, *parameters], name, **options)

    x = quantized("x", "xq", pair)
    scales = [net.constant(net.rng.uniform(0.002, 0.01, 16)), net.constant(np.zeros(16), np.int8)]
    weight = quantized(net.constant(net.rng.normal(0, 0.3, (16, 4, 3, 3))), "wq", scales, axis=0)
    x = net.node("Conv", [x, weight, net.constant(net.rng.normal(0, 1, 16))], "conv")
    x = quantized(net.node("Relu", [x], "relu"), "yq", [net.constant(0.031), net.constant(0, np.int8)])
    flat = net.node("Flatten", [x], "flat")
    matrix = quantized(net.constant(net.rng.normal(0, 0.2, (10, 256))), "mq", [net.constant(0.004), pair[1]])
    turned = net.node("Transpose", [matrix], "turned", perm=[1, 0])
    y = net.node("Add", [net.node("MatMul", [flat, turned], "dense"), net.constant(net.rng.normal(0, 1, 10))], "add")
    quantized(y, "y", [net.constant(0.2), net.constant(-5, np.int8)])
    model = net.model((TensorProto.FLOAT, ["N", 4, 6, 6]), (TensorProto.FLOAT, ["N", 10]))
    x = np.random.default_rng(1).normal(0, 1, (40, 4, 6, 6)).astype(np.float32)
    assert_close(compare(model, load_preset(preset), {"x": x}), 2)


def _conv_integer(net: Net, x: str) -> str:
    zeros = [net.constant(120, np.uint8), net.constant(0, np.int8)]
    sums = net.node("ConvInteger", [x, net.integers((8, 3, 3, 3)), *zeros], "layer")
    real = net.node("Cast", [sums], "cast", to=TensorProto.FLOAT)
    return net.node("Mul", [real, net.constant(net.rng.uniform(1e-4, 4e-4, (1, 8, 1, 1)))], "mul")


def _matmul_integer(net: Net, x: str) -> str:
    flat = net.node("Flatten", [x], "flat")
    zeros = [net.constant(120, np.uint8), net.constant(net.rng.integers(100, 150, 6), np.uint8)]
    sums = net.node("MatMulInteger", [flat, net.integers((48, 6), np.uint8), *zeros], "layer")
    real = net.node("Cast", [sums], "cast", to=TensorProto.FLOAT)
    return net.node("Mul", [net.constant(2e-4), real], "mul")


@pytest.mark.parametrize(("make", "shape"), [(_conv_integer, ["N", 8, 2, 2]), (_matmul_integer, ["N", 6])])
def test_integer_operators(make: Callable[[Net, str], str], shape: list[int | str]) -> None:
    """ConvInteger and MatMulInteger of a tensor with a known scale, scaled behind a Cast: layers like all others."""
    net = Net()
    parameters = [net.constant(0.02), net.constant(120, np.uint8)]
    x = net.node("QuantizeLinear", ["x", *parameters], "xq")
    x = make(net, x)
    ends = [net.constant(0.11), net.constant(120, np.uint8)]
    made = net.node("QuantizeLinear", [x, *ends], "yq")
    net.node("DequantizeLinear", [made, *ends], "y")
    model = net.model((TensorProto.FLOAT, ["N", 3, 4, 4]), (TensorProto.FLOAT, shape))
    x = np.random.default_rng(1).normal(0, 1, (8, 3, 4, 4)).astype(np.float32)
    found = compare(model, load_preset("tiny"), {"x": x})
    assert_close(found, 1)
    np.testing.assert_allclose(found.found["y"], found.expected["y"], atol=1e-6)


def test_moved_integers() -> None:
    """Integers that only move between quantized operators keep their scale; what is in another order stays."""
    net = Net()
    parameters = [net.constant(0.02), net.constant(7, np.int8)]
    x = net.node("QuantizeLinear", ["x", *parameters], "xq")
    x = net.node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Reshape", [x, net.constant([0, -1], np.int64)], "flat")
    weight = [net.integers((10, 12)), net.constant(0.01), net.constant(0, np.int8)]
    bias, ends = net.constant(np.arange(10), np.int32), [net.constant(0.1), net.constant(-3, np.int8)]
    net.node("QGemm", [x, *parameters, *weight, bias, *ends], "y", "com.microsoft", transB=1)
    model = net.model((TensorProto.FLOAT, ["N", 3, 4, 4]), (TensorProto.INT8, ["N", 10]))
    x = np.random.default_rng(1).normal(0, 1, (4, 3, 4, 4)).astype(np.float32)
    found = compare(model, load_preset("tiny"), {"x": x})
    assert_close(found, 2)
    assert np.count_nonzero(found.found["y"] != found.expected["y"]) <= 1
    assert not any(node.domain for node in prepare(model).graph.node)
