"""Powers of two as scales: tensors are multiplied until they fit, and the network computes the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from onnx import ModelProto
from quantized_networks import images, run, small_network
from vta_arch.presets import load_preset
from vta_sw.frontend import prepare
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import CalibrateMode, QConfig, Quantization, quantize_with_report
from vta_sw.quantize.scales import unclipped_scale


def shift(name: str, model: ModelProto, config: QConfig | None = None) -> Quantization:
    cfg = load_preset(name)
    cfg = dataclasses.replace(cfg, extensions=cfg.extensions - {"requant"})
    return quantize_with_report(model, cfg, images(32), config=config or QConfig())


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_the_network_computes_the_same(name: str) -> None:
    done, x = shift(name, small_network()), images(8, seed=3)
    assert np.allclose(run(done.prepared, x), run(small_network(), x), rtol=1e-4, atol=1e-5)
    assert {float(np.log2(scale)) % 1 for scale in done.scales.values()} == {0.0}
    assert done.prepared.SerializeToString() != prepare(small_network()).SerializeToString()


def outputs(done: Quantization) -> dict[str, str]:
    """Layer -> the tensor that it makes."""
    return {layer.name: layer.output for layer in done.annotation.layers}


def test_eight_bits_are_used_to_the_end() -> None:
    """A tensor between two convolutions reaches its greatest integer, whatever its range was."""
    done = shift("pynq-z1", small_network())
    root = done.annotation.groups[outputs(done)["depthwise"]]
    assert 0.9 < unclipped_scale(done.stats[root], done.kinds.activations[root]) / done.scales[root] < 1.2


def test_given_ranges_stay() -> None:
    done = shift("pynq-z1", small_network(), QConfig(calibrate_mode=CalibrateMode.MINMAX))
    floats = {constant.name: constant for constant in prepare(small_network()).graph.initializer}
    assert all(floats[constant.name] == constant for constant in done.prepared.graph.initializer)


def test_what_lets_no_factor_through_keeps_its_values() -> None:
    """Softmax reads the second convolution's result; its own output is the network's."""
    net = NetworkBuilder("ends", 0, (3, 12, 12))
    first = net.relu("relu", net.conv("first", "input", 8, 3))
    flat = net.flatten("flatten", net.global_average_pool("gap", net.conv("second", first, 8, 3)))
    model = net.model(net.softmax("softmax", flat))
    done, x = shift("pynq-z1", model), images(8, seed=3)
    for layer, same in (("first", False), ("second", True)):
        made = []
        for network in (prepare(model), done.prepared):
            network.graph.output.add(name=outputs(done)[layer]).type.tensor_type.elem_type = 1
            made.append(run(network, x, outputs(done)[layer]))
        assert np.allclose(*made, rtol=1e-5, atol=1e-6) is same
