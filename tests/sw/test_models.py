"""The model zoo: deterministic, runnable, of the published sizes, and with activations in range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from vta_sw.frontend import open_session, run_session, work_of
from vta_sw.models import MODELS


@dataclass(frozen=True)
class Published:
    """What is published of a network. ``statistics``: the parameters count BatchNormalization's running ones."""

    input: tuple[int, ...]
    outputs: int
    macs: int
    parameters: int
    statistics: bool = False


IMAGENET = (3, 224, 224)
PUBLISHED = {
    "resnet18": Published(IMAGENET, 1000, 1_814_073_344, 11_689_512),
    "resnet34": Published(IMAGENET, 1000, 3_663_761_408, 21_797_672),
    "resnet50": Published(IMAGENET, 1000, 4_089_184_256, 25_557_032),
    "mobilenet_v1": Published(IMAGENET, 1000, 568_740_352, 4_253_864, statistics=True),
    "mobilenet_v2": Published(IMAGENET, 1000, 300_774_272, 3_504_872),
    "resnet8": Published((3, 32, 32), 10, 12_501_632, 78_666, statistics=True),
    "vww": Published((3, 96, 96), 2, 7_489_664, 221_794, statistics=True),
    "kws": Published((1, 49, 10), 12, 2_656_768, 24_908, statistics=True),
    "autoencoder": Published((640,), 640, 264_192, 269_992, statistics=True),
}


@pytest.fixture(scope="module")
def made() -> dict[str, ModelProto]:
    """Every network once."""
    return {name: MODELS[name](0) for name in MODELS}


def test_every_network_is_checked() -> None:
    assert set(MODELS) == set(PUBLISHED)


@pytest.mark.parametrize("name", ["resnet8", "vww", "kws", "autoencoder"])
def test_a_seed_gives_the_same_bytes(name: str) -> None:
    first, again, other = MODELS[name](3), MODELS[name](3), MODELS[name](4)
    assert first.SerializeToString() == again.SerializeToString()
    assert first.SerializeToString() != other.SerializeToString()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str, made: dict[str, ModelProto]) -> None:
    graph, known = made[name].graph, PUBLISHED[name]
    left_out = {value for node in graph.node if node.op_type == "Clip" for value in node.input[1:]}
    if not known.statistics:
        norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
        left_out |= {value for node in norms for value in node.input[3:]}
    assert sum(int(np.prod(t.dims)) for t in graph.initializer if t.name not in left_out) == known.parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_accumulates(name: str, made: dict[str, ModelProto]) -> None:
    assert work_of(made[name]).macs == PUBLISHED[name].macs


@pytest.mark.parametrize("name", PUBLISHED)
def test_activations_neither_vanish_nor_grow(name: str, made: dict[str, ModelProto]) -> None:
    model, known = ModelProto(), PUBLISHED[name]
    model.CopyFrom(made[name])
    onnx.checker.check_model(model)
    inner = [node.output[0] for node in model.graph.node if node.output[0] != "output"]
    model.graph.output.extend(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in inner)
    x = np.random.default_rng(0).normal(size=(2, *known.input)).astype(np.float32)
    values = run_session(open_session(model), ["output", *inner], {"input": x})
    assert values[0].shape == (2, known.outputs)
    assert np.abs(values[0][0] - values[0][1]).max() > 1e-3
    for tensor, value in zip(["output", *inner], values, strict=True):
        assert 0.05 < value.std() < 20, tensor
