"""Measures a host with onnxruntime and numpy, for the partition's predictions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from vta_arch.presets import load_preset
from vta_arch.program import Tensor
from vta_runtime.tensors import pack_tensor
from vta_sw.cpu_model import PROFILES, CpuProfile
from vta_sw.frontend import open_session

_CHAIN = 40
"""Tiny nodes in a row, for the time of one."""


def measure_host(name: str, seconds: float = 0.3) -> CpuProfile:
    """The profile of this machine; each of its measurements takes about ``seconds``."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 64, 56, 56)).astype(np.float32)
    weight = rng.normal(size=(64, 64, 3, 3)).astype(np.float32)
    macs = 64 * 64 * 9 * 56 * 56
    convolution = _best(_session(_convolution(weight, image.shape), image), seconds)
    integers = _integer_convolution(np.clip(np.rint(weight * 20), -127, 127).astype(np.int8), image.shape)
    integer = _best(_session(integers, np.clip(image * 20 + 128, 0, 255).astype(np.uint8)), seconds)
    small = np.ones((1, 16), np.float32)
    node = _best(_session(_chain(_CHAIN, small.shape), small), seconds) / _CHAIN
    large = _best(_session(_chain(1, image.shape), image), seconds)
    cfg = load_preset("pynq-z1")
    tensor, little = Tensor("x", image.shape, "int8"), Tensor("x", (1, 16, 1, 1), "int8")
    values = np.clip(image * 20, -127, 127).astype(np.int8)
    start = _best(lambda: pack_tensor(cfg, little, values[:, :16, :1, :1]), seconds)
    tiles = _best(lambda: pack_tensor(cfg, tensor, values), seconds)
    return CpuProfile(
        name=name,
        float_macs=macs / convolution,
        int8_macs=macs / integer,
        bytes_per_second=2 * image.nbytes / max(large - node, 1e-9),
        node_seconds=node,
        tile_bytes_per_second=values.nbytes / max(tiles - start, 1e-9),
        transfer_seconds=start,
        launch_seconds=PROFILES["cortex-a53"].launch_seconds,
    )


def _best(call: Callable[[], Any], seconds: float) -> float:
    """The shortest time of a call among those of ``seconds``: what else the machine does only adds to it."""
    call()
    best, end = math.inf, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end or best == math.inf:
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def _session(model: onnx.ModelProto, x: NDArray[Any]) -> Callable[[], Any]:
    session = open_session(model)
    return lambda: session.run(None, {"x": x})


def _model(nodes: list[onnx.NodeProto], kind: int, shape: tuple[int, ...], weights: dict[str, Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "profile",
        [helper.make_tensor_value_info("x", kind, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _convolution(weight: NDArray[np.float32], shape: tuple[int, ...]) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return _model([node], TensorProto.FLOAT, shape, {"w": weight})


def _integer_convolution(weight: NDArray[np.int8], shape: tuple[int, ...]) -> onnx.ModelProto:
    inputs = ["x", "one", "middle", "w", "one", "zero", "large", "middle"]
    node = helper.make_node("QLinearConv", inputs, ["y"], pads=[1, 1, 1, 1])
    one, large = np.float32(1), np.float32(1000)
    weights = {"one": one, "large": large, "middle": np.uint8(128), "zero": np.int8(0), "w": weight}
    return _model([node], TensorProto.UINT8, shape, weights)


def _chain(count: int, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Element-wise nodes that onnxruntime does not merge."""
    names = ["x", *(f"t{number}" for number in range(count - 1)), "y"]
    nodes = [
        helper.make_node("Neg" if number % 2 else "Abs", [names[number]], [names[number + 1]])
        for number in range(count)
    ]
    return _model(nodes, TensorProto.FLOAT, shape, {})
