"""``vta sensitivity``: the ranking, and overrides that ``vta quantize`` takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from app_networks import images, write_files
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import LayerOverride, load_overrides
from vta_sw.quantize.sensitivity import LayerLoss, Sensitivity, Step, overrides_toml

SENSITIVITY = ("sensitivity", "f.onnx", "--calibration", "data.npz", "--data", "data.npz")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """A network of five layers and unlabelled data."""
    net = NetworkBuilder("deep", 1, (4, 6, 6))
    out = net.relu("r1", net.conv("first", "input", 8, 3))
    out = net.relu("r2", net.conv("block/a[0]", out, 8, 3))
    out = net.relu("r3", net.conv("block/b", out, 8, 3))
    model = net.model(net.dense("last", net.flatten("flat", net.global_average_pool("pool", out)), 5))
    write_files(tmp_path)
    onnx.save(model, tmp_path / "f.onnx")
    np.savez(tmp_path / "data.npz", x=images(48))


@pytest.mark.parametrize("config", ["tiny", "pynq-z1", "int4", "w4a8"])
def test_ranking_and_overrides(vta: Callable, config: str, tmp_path: Path) -> None:
    narrow = ("--nbit-weight", "2") if config in ("tiny", "pynq-z1") else ()
    arguments = (*SENSITIVITY, "-c", config, "--within", "0", "--most", "2", "-o", "o.toml", "--json", "s.json")
    outcome = vta(*arguments, "--edge-bits", "0", *narrow)
    assert outcome.status == 0, outcome
    found = json.loads((tmp_path / "s.json").read_text())
    assert {layer["name"] for layer in found["layers"]} == {"first", "block/a[0]", "block/b", "pool", "last"}
    keys = [(-layer["lost"], layer["snr_db"]) for layer in found["layers"]]
    assert keys == sorted(keys)
    assert found["float_score"] == 100.0
    assert len(found["steps"]) <= 2
    for step, layer in zip(found["steps"], found["layers"], strict=False):
        assert step["name"] == layer["name"]
    assert outcome.out.splitlines()[1].startswith(found["layers"][0]["name"])
    made = vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "-c", config, "--overrides", "o.toml")
    assert made.status == 0, made


def test_wide_layers_are_proposed_to_stay_float(vta: Callable, tmp_path: Path) -> None:
    """Where layers have 8 bits already."""
    scales = ("--calibrate-mode", "global_scale", "--weight-scale", "power2")
    assert vta(*SENSITIVITY, "-c", "tiny", "--within", "0", "-o", "o.toml", *scales).status == 0
    text = (tmp_path / "o.toml").read_text()
    assert "bits" not in text
    names = text.count("keep_float = true")
    made = vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "-c", "tiny", "--overrides", "o.toml")
    assert made.status == 0, made
    assert made.out.count("kept float as asked") == names


def test_names_that_look_like_patterns(tmp_path: Path) -> None:
    """The file means the layer, and no other one."""
    layer = LayerLoss("block/a[0]", "Conv", "int4", "uint8", 90.0, 10.0, 20.0)
    found = Sensitivity(100.0, 90.0, [layer], [Step(layer.name, 100.0)], enough=True)
    (tmp_path / "o.toml").write_text(overrides_toml(found))
    overrides = load_overrides(tmp_path / "o.toml")
    assert overrides.of("block/a[0]") == LayerOverride(weight_bits=8)
    assert overrides.of("block/a0") == LayerOverride()


def test_mistakes(refused: Callable) -> None:
    assert "nowhere.npz" in refused(*SENSITIVITY[:-1], "nowhere.npz", "-c", "tiny")
    assert "cannot be written" in refused(*SENSITIVITY, "-c", "tiny", "-o", "no/such/o.toml")
    assert "nbit_weight 8: configuration 'int4'" in refused(*SENSITIVITY, "-c", "int4", "--nbit-weight", "8")
