"""Weights with zero points, which may need a bit more than the configuration's: split exactly, or refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from foreign_models import compare
from onnx import helper, numpy_helper
from qdq_models import QdqBuilder, residual_network
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_sw.lower.weight_parts import MOST_PARTS, split_weight, weight_parts

_UNSIGNED = {8: onnx.TensorProto.UINT8, 4: onnx.TensorProto.UINT4, 2: onnx.TensorProto.UINT2}
CONFIGS = {
    **{name: load_preset(name) for name in ("tiny", "pynq-z1", "int4", "w4a8", "int2")},
    "no depthwise": dataclasses.replace(load_preset("tiny"), extensions={"overlap", "requant", "pad_value"}),
    "no overlap": dataclasses.replace(load_preset("tiny"), extensions={"requant", "pad_value"}),
}


def with_zero_points(model: onnx.ModelProto, cfg: VTAConfig, *, per_channel: bool, share: float = 0.1) -> None:
    """The integer weights of ``model``, dequantized by DQ nodes, become unsigned with zero points, in place.

    ``share`` of them lie at the far end of the range, where the difference from the zero point needs one bit more.
    """
    rng, width = np.random.default_rng(11), cfg.wgt_width
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        name = node.input[0]
        if node.op_type != "DequantizeLinear" or not name.endswith("_w_q"):
            continue
        tensor = held[name]
        shape, top = tuple(tensor.dims), (1 << width) - 1
        values = rng.integers(top // 4, 3 * top // 4 + 1, shape)
        values = np.where(rng.random(shape) < share, rng.integers(0, 2, shape) * top, values)
        zeros = rng.integers(0, top + 1, shape[0] if per_channel else ())
        kind = _UNSIGNED[width]
        tensor.CopyFrom(helper.make_tensor(name, kind, shape, values.reshape(-1).tolist()))
        model.graph.initializer.append(
            helper.make_tensor(f"{name}_zero", kind, zeros.shape, np.atleast_1d(zeros).tolist())
        )
        if not per_channel:
            scale = numpy_helper.to_array(held[node.input[1]]).reshape(-1)[0]
            held[node.input[1]].CopyFrom(numpy_helper.from_array(np.array(scale), node.input[1]))
        node.input.append(f"{name}_zero")


def network(cfg: VTAConfig, seed: int) -> onnx.ModelProto:
    """A stem, a pooled convolution, depthwise and grouped ones, and a dense layer, without biases."""
    net = QdqBuilder(cfg, seed, any_scale=True)
    x = net.input("x", ("N", 3, 9, 9))
    x = net.conv(x, "stem", (12, 3, 3, 3), relu=True, bias=False, pads=[1, 1, 1, 1])
    x = net.conv(x, "deep", (12, 1, 3, 3), bias=False, pads=[1, 1, 1, 1], group=12)
    x = net.conv(x, "groups", (12, 6, 1, 1), bias=False, group=2)
    x = net.pair(net.node("MaxPool", [x], "maxpool", kernel_shape=[2, 2], strides=[2, 2]), -3)
    x = net.conv(x, "last", (20, 12, 3, 3), bias=False, strides=[2, 2])
    pooled = net.pair(net.node("GlobalAveragePool", [x], "pool"), -3)
    return net.model(net.conv(net.node("Flatten", [pooled], "flat"), "dense", (7, 20, 1, 1), dense=True, bias=False))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_networks(name: str, per_channel: bool) -> None:
    """All layers run, equal to the reference, whose weights are the whole ones."""
    cfg = CONFIGS[name]
    model = network(cfg, int(per_channel))
    with_zero_points(model, cfg, per_channel=per_channel)
    x = np.random.default_rng(1).normal(0, 2, (3, 3, 9, 9)).astype(np.float32)
    found = compare(model, cfg, {"x": x})
    made = {layer.name for layer in found.program.layers}
    assert {"stem", "deep", "groups", "last", "dense"} <= made, found.on_cpu
    widest = max(abs(int(array.min())) for key, array in found.program.arrays.items() if key.endswith("/weight"))
    assert widest > -cfg.wgt_min


def test_behind_residual_add() -> None:
    """A convolution that takes in an add has split weights, too."""
    cfg = load_preset("tiny")
    model = residual_network(cfg, 0, (16, 32), 12)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            del node.input[2:]
    with_zero_points(model, cfg, per_channel=True)
    x = np.random.default_rng(1).normal(0, 2, (2, 3, 12, 12)).astype(np.float32)
    found = compare(model, cfg, {"x": x})
    assert any("fused into" in text for text in found.program.offload.values())


@pytest.mark.parametrize("name", ["tiny", "int4", "int2"])
def test_split(name: str) -> None:
    """Parts are weights, of one sign each, and their sum is the whole; what fits is not split."""
    cfg = load_preset(name)
    reach = (1 << cfg.wgt_width) - 1
    weight = np.arange(-reach, reach + 1).reshape(1, -1, 1, 1)
    parts = split_weight(cfg, weight)
    assert len(parts) == weight_parts(cfg, weight) <= MOST_PARTS
    assert np.array_equal(sum(parts), weight)
    assert all(part.min() >= cfg.wgt_min and part.max() <= cfg.wgt_max for part in parts)
    assert all(np.all(part * np.sign(weight) >= 0) for part in parts)
    assert weight_parts(cfg, np.array([cfg.wgt_min, cfg.wgt_max])) == 1


def test_least_weight_is_exact() -> None:
    """-128 is a weight like any other: two products share a multiplier without restricting it."""
    cfg = load_preset("pynq-z1")
    net = QdqBuilder(cfg, 0, any_scale=True)
    x = net.input("x", ("N", 16, 4, 4))
    model = net.model(net.conv(x, "conv", (16, 16, 1, 1), bias=False))
    for tensor in model.graph.initializer:
        if tensor.name == "conv_w_q":
            tensor.CopyFrom(numpy_helper.from_array(np.full((16, 16, 1, 1), -128, np.int8), tensor.name))
    found = compare(model, cfg, {"x": np.full((1, 16, 4, 4), -100, np.float32)})
    assert [array.min() for key, array in found.program.arrays.items() if key.endswith("/weight")] == [-128]


def test_too_wide_is_refused() -> None:
    """8-bit weights of a 4-bit configuration need too many parts: others go digit by digit, depthwise ones say so."""
    found = compare(network(load_preset("tiny"), 0), load_preset("w4a8"), {"x": np.ones((1, 3, 9, 9), np.float32)})
    assert "adds up at most 3" in found.program.offload["deep"]
    assert "stem" in {layer.name for layer in found.program.layers}
