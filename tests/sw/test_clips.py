"""Clips of every kind between layers: what onnxruntime makes of the same file, on three configurations."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from vta_arch.presets import load_preset
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.quantize import quantize

CONFIGS = ("tiny", "pynq-z1", "int4")
CLIPS = {
    "far from zero, then padded": [("Clip", 0.1, 0.9)],
    "one value": [("Clip", 0.5, 0.5)],
    "least above most": [("Clip", 2.0, -1.0)],
    "least above most, by itself": [("MaxPool",), ("Clip", 0.75, -0.5)],
    "nothing in common": [("Relu",), ("MaxPool",), ("Clip", -2.0, -0.25)],
    "two with nothing in common": [("Clip", 0.5, 1.0), ("MaxPool",), ("Clip", -1.0, 0.25)],
}


def network(clips: list[tuple[object, ...]]) -> ModelProto:
    """A convolution, the clips, and two padded convolutions."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=(8, 8, 3, 3)).astype(np.float32) / 5 for _ in range(3)]
    constants = [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights)]
    nodes = [helper.make_node("Conv", ["x", "w0"], ["t"], name="first", pads=[1] * 4)]
    for number, (kind, *bounds) in enumerate(clips):
        names = [f"{number}_{end}" for end in range(len(bounds))]
        constants += [numpy_helper.from_array(np.float32(b), name) for b, name in zip(bounds, names, strict=True)]
        options = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
        source = nodes[-1].output[0]
        nodes.append(helper.make_node(str(kind), [source, *names], [f"c{number}"], name=f"{kind}{number}", **options))
    nodes.append(helper.make_node("Conv", [nodes[-1].output[0], "w1"], ["m"], name="middle", pads=[1] * 4))
    nodes.append(helper.make_node("Conv", ["m", "w2"], ["y"], name="last", pads=[1] * 4))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", [1, 8, 6, 6]), ("y", None))
    ]
    graph = helper.make_graph(nodes, "clips", *ends, constants)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", CLIPS)
def test_the_same_as_onnxruntime(kind: str, name: str) -> None:
    cfg = load_preset(name)
    x = np.random.default_rng(4).normal(size=(2, 8, 6, 6)).astype(np.float32)
    made = quantize(network(CLIPS[kind]), cfg, x)
    executor = Executor(compile(made, cfg), FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = np.concatenate([session.run(None, {"x": image[None]})[0] for image in x])
    steps = [numpy_helper.to_array(item) for item in made.graph.initializer if item.name == _last(made).input[1]]
    assert np.abs(found - wanted).max() <= 1.01 * steps[0]
    assert np.count_nonzero(found != wanted) <= 2


def _last(model: ModelProto) -> onnx.NodeProto:
    """The node that makes the output real."""
    return next(node for node in model.graph.node if model.graph.output[0].name in node.output)
