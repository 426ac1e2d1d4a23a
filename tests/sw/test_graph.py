"""Import of QDQ networks: what becomes a layer, and the reason when it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from qdq_models import QdqBuilder, residual_network
from vta_arch.errors import ModelError
from vta_arch.presets import load_preset
from vta_sw.compiler import compile
from vta_sw.graph import import_graph

CONFIG = load_preset("pynq-z1")


def with_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    return model


def test_residual_network_is_recognised() -> None:
    graph = import_graph(with_batch(residual_network(CONFIG, 0)), CONFIG)
    assert [layer.name for layer in graph.layers] == ["stem", "left1", "left2", "short", "sum", "pool", "dense"]
    assert graph.reasons == {}
    stem = graph.layers[0]
    assert (stem.low, stem.high) == (0, 127)
    assert stem.output.shape == (2, 10, 9, 9)
    assert graph.layers[4].factors == (2, 1)


@pytest.mark.parametrize(("low", "high", "expected"), [(0.0, 6.0, (0, 48)), (-1.0, 100.0, (-8, 127))])
def test_clip_becomes_bounds(low: float, high: float, expected: tuple[int, int]) -> None:
    net = QdqBuilder(CONFIG)
    x = net.input("x", (1, 4, 5, 5))
    y = net.node("Conv", [x, net.weight("w", (4, 4, 1, 1), np.full(4, -5))], "layer")
    bounds = [net.constant(n, np.array(v, np.float32)) for n, v in (("low", low), ("high", high))]
    y = net.pair(net.node("Clip", [y, *bounds], "clip"), -3)
    layer = import_graph(net.model(y), CONFIG).layers[0]
    assert (layer.low, layer.high) == expected


def _odd_scale(net: QdqBuilder, x: str) -> str:
    y = net.node("Conv", [x, net.weight("w", (4, 4, 1, 1), np.log2(np.full(4, 0.03)))], "layer")
    return net.pair(y, -3)


def _used_twice(net: QdqBuilder, x: str) -> str:
    y = net.node("Conv", [x, net.weight("w", (4, 4, 1, 1), np.full(4, -5))], "layer")
    return net.node("Mul", [net.pair(y, -3), y], "twice")


def _float_weight(net: QdqBuilder, x: str) -> str:
    w = net.constant("w", np.ones((4, 4, 1, 1), np.float32))
    return net.pair(net.node("Conv", [x, w], "layer"), -3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_odd_scale, "not a power of two"),
        (_used_twice, "exactly one"),
        (_float_weight, "not quantized"),
    ],
)
def test_unrecognised_runs_on_the_cpu(make: Callable[[QdqBuilder, str], str], reason: str) -> None:
    net = QdqBuilder(CONFIG)
    x = net.input("x", ("N", 4, 6, 6))
    program = compile(net.model(make(net, x)), load_preset("classic"))
    assert reason in program.offload["layer"]
    assert program.layers == ()
    assert len(program.steps) == 1


def test_float_network_is_refused() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 1, 3, 3)) for n in ("x", "y")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, (1, 1, 1, 1), [1.0])
    graph = helper.make_graph(nodes, "float", value[:1], value[1:], [weight])
    with pytest.raises(ModelError, match="vta quantize"):
        compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), CONFIG)


def test_widths_beyond_the_configuration() -> None:
    program = compile(residual_network(CONFIG, 0), load_preset("int4"))
    assert program.layers == ()
    assert "int4 holds -8 to 7" in program.offload["stem"]
