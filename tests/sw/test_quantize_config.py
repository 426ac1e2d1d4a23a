"""Choices of quantization: what contradicts a configuration or itself is refused, and both sides are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from quantized_networks import images, run, small_network
from vta_arch.config import VTAConfig
from vta_arch.errors import ConfigError, ModelError, VTAError
from vta_arch.presets import load_preset
from vta_sw.compiler import compile
from vta_sw.quantize import (
    CalibrateMode,
    LayerOverride,
    Overrides,
    PartitionConversions,
    QConfig,
    WeightScale,
    load_overrides,
    quantize,
    quantize_with_report,
)

CONFIGS = ["tiny", "pynq-z1", "w4a8", "int4", "int2", "classic"]


def unsigned() -> VTAConfig:
    return dataclasses.replace(load_preset("tiny"), name="no-signs", inp_signed=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_are_the_configuration(name: str) -> None:
    cfg = load_preset(name)
    found = QConfig().resolve(cfg)
    assert (found.activation.bits, found.weight.bits, found.acc_bits) == (cfg.inp_width, cfg.wgt_width, cfg.acc_width)
    assert found.unsigned == (name != "classic")


CONTRADICTIONS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "input wider": ("int4", {"nbit_input": 8}, ["nbit_input 8", "'int4'", "inp_width 4"]),
    "weight wider": ("w4a8", {"nbit_weight": 8}, ["nbit_weight 8", "'w4a8'", "wgt_width 4"]),
    "accumulator wider": ("tiny", {"nbit_activation": 64}, ["nbit_activation 64", "'tiny'", "acc_width 32"]),
    "one bit": ("tiny", {"nbit_weight": 1}, ["nbit_weight 1", "'tiny'", "wgt_width 8"]),
    "no such type": ("pynq-z1", {"nbit_input": 6}, ["nbit_input 6", "'pynq-z1'", "2 or 4 or 8"]),
    "type of other bits": ("int4", {"dtype_input": "int8"}, ["dtype_input 'int8'", "'int4'", "inp_width 4"]),
    "type against bits": ("tiny", {"dtype_weight": "int8", "nbit_weight": 4}, ["dtype_weight 'int8'", "nbit_weight 4"]),
    "no integer": ("tiny", {"dtype_weight": "float16"}, ["dtype_weight 'float16'", "wgt_width 8"]),
    "unsigned weights": ("tiny", {"dtype_weight": "uint8"}, ["dtype_weight 'uint8'", "wgt_width", "signed"]),
    "unsigned input": ("classic", {"dtype_input": "uint8"}, ["dtype_input 'uint8'", "'classic'", "inp_is_signed true"]),
    "signed input": ("no-signs", {"dtype_input": "int8"}, ["dtype_input 'int8'", "'no-signs'", "inp_is_signed false"]),
    "no rounding": ("tiny", {"round_for_shift": False}, ["round_for_shift false", "'tiny'"]),
    "edges": ("tiny", {"edge_bits": 3}, ["edge_bits 3", "2, 4 or 8"]),
    "percentile": ("tiny", {"percentile": 0.0}, ["percentile 0", "at most 100"]),
    "percentile above": ("tiny", {"percentile": 101.0}, ["percentile 101", "at most 100"]),
    "global scale": ("tiny", {"global_scale": float("nan")}, ["global_scale nan", "positive"]),
    "chunk": ("tiny", {"calibrate_chunk_by": 0}, ["calibrate_chunk_by 0", "1 or more"]),
    "steps": ("tiny", {"rounding_steps": 0}, ["rounding_steps 0", "1 or more"]),
    "seed": ("tiny", {"seed": -1}, ["seed -1", "0 or more"]),
    "simulated integers": (
        "tiny",
        {"do_simulation": True, "partition_conversions": PartitionConversions.FULLY_INTEGRAL},
        ["partition_conversions fully_integral", "do_simulation true"],
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_name_both_sides(case: str) -> None:
    name, choices, named = CONTRADICTIONS[case]
    cfg = unsigned() if name == "no-signs" else load_preset(name)
    with pytest.raises(ConfigError) as caught:
        quantize(small_network(), cfg, images(), config=QConfig(**choices))
    assert all(part in str(caught.value) for part in named), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_fewer_bits_than_the_configuration(name: str) -> None:
    cfg = load_preset(name)
    config = QConfig(nbit_weight=2, nbit_input=cfg.inp_width // 2, edge_bits=None)
    done = quantize_with_report(small_network(), cfg, images(), config=config)
    assert {kind.bits for kind in done.kinds.weights.values()} == {2}
    assert all(kind.bits in (2, 4, 8) for kind in done.kinds.activations.values())
    onnx.checker.check_model(done.model)
    assert np.isfinite(run(done.model, images(2))).all()
    assert not set(compile(done.model, cfg).offload) & {"conv1", "conv2", "depthwise", "conv3", "fc"}
    inner = done.report.layers[1]
    assert (inner.input_types[0].removeprefix("u"), inner.weight_type) == (f"int{cfg.inp_width // 2}", "int2")


def test_signed_activations() -> None:
    config = QConfig(dtype_input="int8")
    done = quantize_with_report(small_network(), load_preset("pynq-z1"), images(), config=config)
    assert all(kind.signed for kind in done.kinds.activations.values())


def test_what_tvm_leaves_out_stays_float() -> None:
    cfg, model = load_preset("pynq-z1"), small_network()
    left = quantize_with_report(model, cfg, images(), config=QConfig(skip_dense_layer=True, skip_conv_layers=(0, 2)))
    assert {"conv1", "depthwise", "fc"} <= set(left.report.floats)
    only = quantize_with_report(model, cfg, images(), config=QConfig(debug_enabled_ops=("Gemm",)))
    assert [layer.name for layer in only.report.layers] == ["fc"]
    with pytest.raises(ModelError, match="skip_conv_layers 9: the network has convolutions 0 to 3"):
        quantize(model, cfg, images(), config=QConfig(skip_conv_layers=(9,)))


OVERRIDES = """
["conv*"]
weight_bits = 4
["conv2"]
calibrate_mode = "percentile"
percentile = 99.0
rounding = "stochastic"
["fc"]
keep_float = true
"""


def test_overrides_of_single_layers(tmp_path: Path) -> None:
    path = tmp_path / "o.toml"
    path.write_text(OVERRIDES)
    overrides = load_overrides(path)
    assert overrides.of("conv2") == LayerOverride(4, None, None, "percentile", 99.0, None, "stochastic")
    done = quantize_with_report(small_network(), load_preset("tiny"), images(), config=QConfig(overrides=overrides))
    assert {name: kind.bits for name, kind in done.kinds.weights.items()} == {
        "conv1": 4,
        "conv2": 4,
        "depthwise": 8,
        "conv3": 4,
    }
    onnx.checker.check_model(done.model)
    assert "fc" in done.report.floats
    assert done.report.settings["overrides"]["fc"] == {"keep_float": True}


BAD_OVERRIDES = {
    "not TOML": ("[", "not TOML"),
    "no table": ("bits = 4", "'bits' is no table"),
    "key": ("[conv1]\nbits = 4", "key 'bits' is unknown; known keys: weight_bits"),
    "type": ('[conv1]\nweight_bits = "4"', "weight_bits = '4' is not of type int"),
    "truth": ("[conv1]\nweight_bits = true", "weight_bits = True is not of type int"),
    "width": ("[conv1]\nactivation_bits = 3", "activation_bits = 3; give 2, 4, 8"),
    "mode": ('[conv1]\ncalibrate_mode = "max"', "calibrate_mode = 'max'; give mse"),
    "rounding": ('[conv1]\nrounding = "up"', "rounding = 'up'; give nearest"),
}


@pytest.mark.parametrize("case", BAD_OVERRIDES)
def test_bad_overrides_get_one_line(case: str, tmp_path: Path) -> None:
    text, expected = BAD_OVERRIDES[case]
    path = tmp_path / "o.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_overrides(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_of_nothing() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_overrides(Path("nowhere.toml"))
    overrides = Overrides((("block*", LayerOverride(weight_bits=4)),))
    with pytest.raises(ConfigError, match=r"'block\*': no node"):
        quantize(small_network(), load_preset("tiny"), images(), config=QConfig(overrides=overrides))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"calibrate_mode": "percentile", "percentile": 0.0}, "percentile"),
        ({"global_scale": -1.0, "calibrate_mode": "global_scale"}, "global_scale"),
    ],
)
def test_overrides_keep_the_limits_of_choices(values: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "o.toml"
    path.write_text("[conv1]\n" + "\n".join(f"{key} = {value!r}" for key, value in values.items()))
    with pytest.raises(VTAError, match=named):
        load_overrides(path)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_settings_say_what_was_chosen(name: str) -> None:
    config = QConfig(calibrate_mode=CalibrateMode.MINMAX, seed=3)
    report = quantize_with_report(small_network(), load_preset(name), images(), config=config).report
    assert report.settings == {"calibrate_mode": "minmax", "seed": 3}


def test_choices_may_be_names() -> None:
    named = QConfig(weight_scale="power2", partition_conversions="fully_integral", rounding="adaround")  # type: ignore[arg-type]
    assert named.weight_scale is WeightScale.POWER2
    assert named.partition_conversions is PartitionConversions.FULLY_INTEGRAL
    with pytest.raises(ConfigError, match=r"weight_scale 'most': give one of mse, max, power2"):
        QConfig(weight_scale="most")  # type: ignore[arg-type]
