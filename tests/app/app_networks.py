"""Small networks and arrays that several tests need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE = 4, 6


def network(dims: Sequence[int | str] = ("N", CHANNELS, SIZE, SIZE), seed: int = 7) -> onnx.ModelProto:
    """Conv, Relu, residual Add, pool and a dense layer of 3 classes; input ``x`` of shape ``dims``."""
    rng = np.random.default_rng(seed)
    arrays = {
        "w1": rng.normal(0, 0.3, (CHANNELS, CHANNELS, 3, 3)),
        "b1": rng.normal(0, 0.1, CHANNELS),
        "w2": rng.normal(0, 0.5, (3, CHANNELS)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "x"], ["s"], name="add"),
        helper.make_node("GlobalAveragePool", ["s"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["y"], name="dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [dims[0], 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(count: int = 8) -> np.ndarray:
    """Seeded inputs of the network."""
    return np.random.default_rng(3).normal(size=(count, CHANNELS, SIZE, SIZE)).astype(np.float32)


def write_files(folder: Path) -> None:
    """``f.onnx`` and ``data.npz`` (x, y and an array of another shape)."""
    onnx.save(network(), folder / "f.onnx")
    labels = np.arange(8) % 3
    np.savez(folder / "data.npz", x=images(), y=labels, wrong=np.zeros((4, 3, 5, 5), np.float32))
