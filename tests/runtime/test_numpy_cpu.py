"""The evaluator in numpy beside onnxruntime, operator by operator, and whole subgraphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from vta_arch.errors import ProgramError
from vta_arch.program import CpuStep, Tensor
from vta_runtime.numpy_cpu import NumpySubgraph
from vta_runtime.onnx_file import read_model

Case = tuple[str, dict[str, Any], tuple[int, ...], list[np.ndarray]]
F = np.float32
CASES: dict[str, Case] = {
    "add": ("Add", {}, (2, 3, 4, 5), [np.arange(5, dtype=F)]),
    "mul": ("Mul", {}, (2, 3, 4, 5), [np.array(0.3, F)]),
    "sub": ("Sub", {}, (2, 3), [np.arange(3, dtype=F)]),
    "div": ("Div", {}, (2, 3), [np.array(0.7, F)]),
    "neg": ("Neg", {}, (2, 3), []),
    "floor": ("Floor", {}, (4, 9), []),
    "ceil": ("Ceil", {}, (4, 9), []),
    "round": ("Round", {}, (4, 9), []),
    "greater": ("Greater", {}, (4, 9), [np.array(0.1, F)]),
    "greater or equal": ("GreaterOrEqual", {}, (4, 9), [np.array(0.1, F)]),
    "less": ("Less", {}, (4, 9), [np.array(0.1, F)]),
    "less or equal": ("LessOrEqual", {}, (4, 9), [np.array(0.1, F)]),
    "matmul": ("MatMul", {}, (4, 3), [np.arange(6, dtype=F).reshape(3, 2)]),
    "gemm": ("Gemm", {"transB": 1, "alpha": 0.5}, (4, 3), [np.ones((2, 3), F), np.arange(2, dtype=F)]),
    "relu": ("Relu", {}, (2, 7), []),
    "clip": ("Clip", {}, (2, 7), [np.array(-0.5, F), np.array(0.5, F)]),
    "softmax": ("Softmax", {"axis": 1}, (2, 7), []),
    "softmax, middle axis": ("Softmax", {"axis": -2}, (2, 7, 3), []),
    "reshape": ("Reshape", {}, (2, 6, 2), [np.array([0, -1, 3], np.int64)]),
    "flatten": ("Flatten", {"axis": 2}, (2, 3, 4, 5), []),
    "flatten, negative axis": ("Flatten", {"axis": -1}, (2, 3, 4), []),
    "transpose": ("Transpose", {"perm": [0, 2, 3, 1]}, (2, 3, 4, 5), []),
    "transpose, reversed": ("Transpose", {}, (2, 3, 4), []),
    "identity": ("Identity", {}, (3,), []),
    "cast": ("Cast", {"to": TensorProto.INT32}, (3, 4), []),
    "concat": ("Concat", {"axis": 1}, (2, 3), [np.ones((2, 2), F)]),
    "pad": ("Pad", {}, (2, 3), [np.array([0, 1, 2, 0], np.int64), np.array(1.5, F)]),
    "global average": ("GlobalAveragePool", {}, (2, 3, 4, 5), []),
    "max pool": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, (2, 3, 7, 6), []),
    "max pool, dilated": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 1]}, (1, 3, 7, 6), []),
    "quantize": ("QuantizeLinear", {}, (4, 9), [np.array(0.02, F), np.array(3, np.int8)]),
    "quantize, each channel": (
        "QuantizeLinear",
        {"axis": 1},
        (4, 3, 2),
        [np.array([0.02, 0.5, 0.1], F), np.array([0, 200, 128], np.uint8)],
    ),
}


def model(case: Case, kind: int = TensorProto.FLOAT) -> bytes:
    op, attributes, shape, constants = case
    names = [f"c{number}" for number in range(len(constants))]
    node = helper.make_node(op, ["x", *names], ["y"], name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def subgraph(data: bytes, x: np.ndarray, y: np.ndarray) -> NumpySubgraph:
    tensors = {"x": Tensor("x", x.shape, x.dtype.name), "y": Tensor("y", y.shape, y.dtype.name)}
    return NumpySubgraph(CpuStep(data, ("x",), ("y",)), tensors)


@pytest.mark.parametrize("name", CASES)
def test_operators_agree_with_onnxruntime(name: str) -> None:
    data = model(CASES[name])
    x = np.random.default_rng(0).normal(size=CASES[name][2]).astype(F)
    expected = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    found = subgraph(data, x, expected).run({"x": x})["y"]
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_dequantize(kind: type[np.integer]) -> None:
    case = ("DequantizeLinear", {"axis": 1}, (2, 3, 4), [np.array([0.1, 0.2, 3], F), np.array([1, 0, 7], kind)])
    data = model(case, helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    x = np.random.default_rng(0).integers(0, 127, (2, 3, 4)).astype(kind)
    expected = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    np.testing.assert_array_equal(subgraph(data, x, expected).run({"x": x})["y"], expected)


@pytest.mark.parametrize(("kind", "low", "high"), [("INT4", -8, 7), ("UINT4", 0, 15), ("INT2", -2, 1)])
def test_packed_constants(kind: str, low: int, high: int) -> None:
    """Types below a byte come as one element a byte."""
    values = np.random.default_rng(0).integers(low, high + 1, (3, 5))
    tensor = helper.make_tensor("c", getattr(TensorProto, kind), values.shape, values.reshape(-1).tolist())
    graph = helper.make_graph([], "g", [], [], [tensor])
    found = read_model(helper.make_model(graph).SerializeToString())
    np.testing.assert_array_equal(found.constants["c"], values)


def test_unknown_operators_are_refused_by_name() -> None:
    x = np.zeros((1, 2), F)
    with pytest.raises(ProgramError, match=r"node 'node' \(Erf\): .* use onnxruntime"):
        subgraph(model(("Erf", {}, (1, 2), [])), x, x)


def test_pooling_that_is_not_known_says_so() -> None:
    case = ("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1}, (1, 1, 3, 3), [])
    x = np.zeros((1, 1, 3, 3), F)
    with pytest.raises(ProgramError, match="without ceil_mode"):
        subgraph(model(case), x, np.zeros((1, 1, 2, 2), F)).run({"x": x})


def test_damaged_models_are_refused() -> None:
    data = model(CASES["add"])
    for bad in (data[:-3], b"\x3a\xff\xff", b"\xff" * 20):
        with pytest.raises(ProgramError, match="no ONNX model"):
            read_model(bad)
