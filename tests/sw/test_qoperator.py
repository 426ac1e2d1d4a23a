"""Each operator on quantized tensors beside the form that it becomes, both in onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from vta_sw.frontend import open_session, prepare, run_session
from vta_sw.frontend.qoperator import RULES

SHAPE = (2, 4, 6, 6)
X = ["x", "s0", "z0"]
Y = ["s1", "z1"]
OTHER = ["w", "sw", "zw"]
WEIGHTS: dict[str, tuple[int, ...]] = {"QLinearConv": (5, 4, 3, 3), "QLinearMatMul": (6, 7), "QGemm": (144, 7)}
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "QLinearConv": ([*X, *OTHER, *Y, "bias"], {"pads": [1, 1, 1, 1]}),
    "QLinearMatMul": ([*X, *OTHER, *Y], {}),
    "QGemm": ([*X, *OTHER, "bias", *Y], {"alpha": 0.5}),
    "QLinearAdd": ([*X, *OTHER, *Y], {}),
    "QLinearMul": ([*X, *OTHER, *Y], {}),
    "QLinearConcat": ([*Y, *X, *OTHER], {"axis": 1}),
    "QLinearWhere": (["which", *X, *OTHER, *Y], {}),
    "QLinearGlobalAveragePool": ([*X, *Y], {"channels_last": 0}),
    "QLinearAveragePool": ([*X, *Y], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "QLinearLeakyRelu": ([*X, *Y], {"alpha": 0.2}),
    "QLinearSigmoid": ([*X, *Y], {}),
    "QLinearSoftmax": ([*X, *Y], {"axis": -1, "opset": 13}),
}
STANDARD = ("QLinearConv", "QLinearMatMul")
LEFT_OUT = {
    "QLinearReduceMean": "onnxruntime has no kernel for it",
    "ConvInteger": "one of several nodes: see test_foreign_forms",
    "MatMulInteger": "the same",
}


def model(op: str, kind: type[np.integer]) -> onnx.ModelProto:
    """One node between an integer input and an integer output."""
    rng, limits, number = np.random.default_rng(2), np.iinfo(kind), helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    middle = (int(limits.min) + int(limits.max) + 1) // 2
    names, attributes = CASES[op]
    fine = 1 / 256 if op in ("QLinearSoftmax", "QLinearSigmoid") else 0.31 if op in WEIGHTS else 0.041
    weight = np.int8 if op in WEIGHTS else kind
    spread = np.iinfo(weight)
    values = {
        "s0": np.float32(0.02),
        "z0": kind(middle + 5),
        "s1": np.float32(fine),
        "z1": kind(middle - 9 if fine > 0.01 else limits.min),
        "w": rng.integers(spread.min, int(spread.max) + 1, WEIGHTS.get(op, SHAPE)).astype(weight),
        "sw": np.float32(0.013),
        "zw": weight(0 if op in WEIGHTS else middle - 3),
        "bias": rng.integers(-900, 900, (7 if op == "QGemm" else 5,)).astype(np.int32),
        "which": rng.random(SHAPE) < 0.5,
    }
    node = helper.make_node(op, names, ["y"], "node", domain="" if op in STANDARD else "com.microsoft", **attributes)
    shape = (2, 144) if op == "QGemm" else SHAPE
    ends = [helper.make_tensor_value_info("x", number, shape), helper.make_tensor_value_info("y", number, None)]
    held = [numpy_helper.from_array(np.asarray(values[name]), name) for name in names if name != "x"]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("op", CASES)
def test_same_result(op: str, kind: type[np.integer]) -> None:
    """Standard operators only, and integers that differ by one step where float32 rounds another way."""
    given = model(op, kind)
    expanded = prepare(given)
    assert not any(
        node.domain or (node.op_type.startswith("Q") and node.op_type in RULES) for node in expanded.graph.node
    )
    limits = np.iinfo(kind)
    shape = (2, 144) if op == "QGemm" else SHAPE
    x = np.random.default_rng(3).integers(limits.min, int(limits.max) + 1, shape).astype(kind)
    expected, found = (run_session(open_session(item, exact=True), ["y"], {"x": x})[0] for item in (given, expanded))
    assert found.dtype == expected.dtype
    distance = np.abs(np.asarray(found, np.int64) - np.asarray(expected, np.int64))
    assert distance.max() <= 1
    assert np.count_nonzero(distance) <= 0.01 * distance.size


def test_all_rules_are_tried() -> None:
    assert set(RULES) == {*CASES, *LEFT_OUT}


def test_other_order_stays() -> None:
    """Channels in the last axis have no standard form: the node stays, and nothing else is touched."""
    given = model("QLinearGlobalAveragePool", np.uint8)
    given.graph.node[0].attribute[0].i = 1
    assert [node.op_type for node in prepare(given).graph.node] == ["QLinearGlobalAveragePool"]
