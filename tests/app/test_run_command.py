"""From a float network to results, with the command and from Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import vta_app
from app_networks import images, network, write_files
from vta_arch.presets import load_preset

KEYS = ["backend", "config", "fingerprint", "images", "seconds", "top1", "cycles", "cycles_per_image"]
KEYS += ["mismatches", "mismatches_by_layer"]


@pytest.fixture(params=["tiny", "pynq-z1", "int4"])
def config(request: pytest.FixtureRequest, vta: Callable, tmp_path: Path) -> str:
    """Leaves f.onnx, q.onnx, p.vta and data.npz in the folder; the configuration's name."""
    write_files(tmp_path)
    name = str(request.param)
    for arguments in (
        # Otherwise the first and the last layer keep 8 bits, and that is all layers.
        ("quantize", "f.onnx", "--calibration", "data.npz:x", "-o", "q.onnx", "--edge-bits", "0"),
        ("compile", "q.onnx", "-o", "p.vta", "--offload", "all"),
    ):
        outcome = vta(*arguments, "--config", name)
        assert outcome.status == 0, outcome
    return name


def test_functional_equals_reference(vta: Callable, config: str, tmp_path: Path) -> None:
    arguments = ("--input", "data.npz", "--labels", "data.npz:y", "--check")
    results = {}
    for backend in ("functional", "reference"):
        outcome = vta("run", "p.vta", *arguments, "--backend", backend, "--json", "r.json", "-o", f"{backend}.npz")
        assert outcome.status == 0, outcome
        report = json.loads((tmp_path / "r.json").read_text())
        assert list(report) == KEYS
        assert (report["backend"], report["config"], report["images"]) == (backend, config, 8)
        assert report["fingerprint"] == load_preset(config).fingerprint_hex
        assert (report["cycles"], report["cycles_per_image"], report["mismatches"]) == (None, None, 0)
        with np.load(tmp_path / f"{backend}.npz") as file:
            results[backend] = file["y"]
        labels = np.arange(8) % 3
        assert report["top1"] == pytest.approx(100 * (results[backend].argmax(1) == labels).mean())
    assert results["functional"].dtype == np.float32
    assert results["functional"].shape == (8, 3)
    assert (results["functional"] == results["reference"]).all()


def test_layers_alone_and_limit(vta: Callable, config: str, tmp_path: Path) -> None:
    outcome = vta("run", "p.vta", "--input", "data.npz", "--layer", "conv,dense", "--limit", "3", "--json", "r.json")
    assert outcome.status == 0, outcome
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["mismatches_by_layer"] == {"conv": 0, "dense": 0}
    assert report["images"] == 3
    assert report["config"] == config
    assert "no accelerator layer" in vta("run", "p.vta", "--input", "data.npz", "--layer", "relu").err


def test_listing_of_a_program(vta: Callable, config: str) -> None:
    lines = vta("disasm", "p.vta").out.splitlines()
    assert config in lines[0]
    assert lines[-1].endswith("FINISH")
    assert any("GEMM" in line for line in lines)


def test_quantized_file_is_near_the_float_one(vta: Callable, tmp_path: Path) -> None:
    write_files(tmp_path)
    assert vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx").status == 0
    results = []
    for name in ("f.onnx", "q.onnx"):
        session = onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": images(1)})[0])
    assert np.abs(results[0] - results[1]).max() < 0.1 * np.abs(results[0]).max() + 0.02


@pytest.mark.parametrize("config", ["tiny", "classic", "w4a8"])
def test_python_names(config: str, tmp_path: Path) -> None:
    cfg = vta_app.load_config(config)
    assert isinstance(cfg, vta_app.VTAConfig)
    quantized = vta_app.quantize(network(), cfg, images())
    program = vta_app.compile(quantized, cfg)
    program.save(tmp_path / "p.vta")
    loaded = vta_app.Program.load(tmp_path / "p.vta")
    report = vta_app.run(loaded, images(), labels=np.zeros(8, int), check=True)
    same = vta_app.run(tmp_path / "p.vta", {"x": images()}, backend="reference", limit=5)
    assert report.mismatches == 0
    assert report.first_mismatch is None
    assert (same.outputs["y"] == report.outputs["y"][:5]).all()
    with pytest.raises(vta_app.VTAError, match="backend 'fpga' is unknown"):
        vta_app.run(loaded, images(), backend="fpga")


def test_every_public_name_is_there() -> None:
    for name in vta_app.__all__:
        assert getattr(vta_app, name).__doc__
    assert "vta_top" in vta_app.generate_verilog(load_preset("tiny"))


def test_verilog_is_deterministic(vta: Callable, tmp_path: Path) -> None:
    for name in ("a.v", "b.v"):
        assert vta("verilog", "--config", "tiny", "-o", name).status == 0
    text = (tmp_path / "a.v").read_text()
    assert text == (tmp_path / "b.v").read_text()
    assert "s_axi_control_awaddr" in text
    assert "m_axi_gmem_araddr" in text


def test_a_slower_bus_costs_cycles_and_changes_no_bit(vta: Callable, tmp_path: Path) -> None:
    cfg = load_preset("tiny")
    write_files(tmp_path)
    vta_app.compile(vta_app.quantize(network(), cfg, images()), cfg).save(tmp_path / "p.vta")
    reports, outputs = [], []
    for interval in (1, 2):
        arguments = ("--backend", "rtl", "--limit", "1", "--check", "--beat-interval", interval)
        outcome = vta("run", "p.vta", "--input", "data.npz", *arguments, "--json", "r.json", "-o", "y.npz")
        assert outcome.status == 0, outcome
        reports.append(json.loads((tmp_path / "r.json").read_text()))
        with np.load(tmp_path / "y.npz") as file:
            outputs.append(file["y"])
    assert reports[1]["cycles"] > reports[0]["cycles"]
    assert [report["mismatches"] for report in reports] == [0, 0]
    assert (outputs[0] == outputs[1]).all()
