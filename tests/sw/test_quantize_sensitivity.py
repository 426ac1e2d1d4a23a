"""Which layer costs the most."""

from __future__ import annotations

import onnx
import pytest
from quantized_networks import images, run, small_network
from vta_arch.presets import load_preset
from vta_sw.quantize import LayerOverride, Overrides, QConfig, quantize_with_report
from vta_sw.quantize.sensitivity import Score, overrides_toml, rank_layers


@pytest.mark.parametrize("name", ["pynq-z1", "int4", "w4a8"])
def test_sensitivity_finds_the_layer_that_was_spoiled(name: str) -> None:
    """One layer with 2 bits costs the most, and leaving it float is what is proposed."""
    cfg, x = load_preset(name), images(64, seed=4)
    overrides = Overrides((("conv3", LayerOverride(weight_bits=2)),))
    # Bias correction would take back in the spoiled layer what the layers before it cost.
    config = QConfig(overrides=overrides, bias_correction=False)
    done = quantize_with_report(small_network(), cfg, images(48), config=config)
    expected = run(done.prepared, x)

    def evaluate(model: onnx.ModelProto) -> Score:
        values = run(model, x)
        noise = float(((values - expected) ** 2).sum() / (expected**2).sum())
        return Score(100 * (1 - noise), 0.0)

    found = rank_layers(done, cfg, evaluate, within=0.0, most=1)
    assert found.float_score == 100.0
    assert not found.enough
    assert {layer.name for layer in found.layers} == {layer.name for layer in done.annotation.layers}
    assert found.layers[0].name == "conv3"
    assert [step.name for step in found.steps] == ["conv3"]
    assert found.steps[0].score > found.quantized_score
    assert '["conv3"]\nweight_bits = 8' in overrides_toml(found)
