"""The model zoo: deterministic, runnable, and with activations in range."""

from __future__ import annotations

import numpy as np
import pytest
from vta_sw.frontend import load_model, open_session, run_session, save_model
from vta_sw.frontend.graph import Graph
from vta_sw.models import MODELS

SHAPES = {"resnet8": (3, 32, 32), "resnet18": (3, 224, 224)}
CLASSES = {"resnet8": 10, "resnet18": 1000}
MACS = {"resnet8": 12_501_632, "resnet18": 1_814_073_344}


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_bytes(name: str) -> None:
    first, again, other = MODELS[name](3), MODELS[name](3), MODELS[name](4)
    assert first.SerializeToString() == again.SerializeToString()
    assert first.SerializeToString() != other.SerializeToString()


@pytest.mark.parametrize("name", MODELS)
def test_models_run_and_stay_in_range(name: str) -> None:
    model = MODELS[name](0)
    x = np.random.default_rng(0).normal(size=(2, *SHAPES[name])).astype(np.float32)
    result = run_session(open_session(model), ["output"], {"input": x})[0]
    assert result.shape == (2, CLASSES[name])
    assert np.isfinite(result).all()
    assert 0.01 < result.std() < 50
    assert np.abs(result[0] - result[1]).max() > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_multiply_accumulates(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    save_model(MODELS[name](0), tmp_path / "model.onnx")
    graph = Graph(load_model(tmp_path / "model.onnx", batch=1))
    total = 0
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm"):
            weight, output = graph.shape(node.input[1]) or (), graph.shape(node.output[0]) or ()
            total += int(np.prod(weight)) * int(np.prod(output[2:]))
    assert total == MACS[name]
    assert all(node.op_type != "BatchNormalization" for node in graph.nodes)
