"""Tuning, what it leaves behind for later compilations, and the commands that show and use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app_networks import images, network
from vta_app import compile, load_config, quantize
from vta_app.cpu_profiling import measure_host
from vta_app.measure import SampleRunner
from vta_app.tuned_cache import TuningBackend, load_tuned, save_tuned, tuned_file
from vta_app.tuning import tune
from vta_arch.encoding import decode_stream
from vta_arch.errors import DataError
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import Compilation
from vta_sw.cycles.program import layer_cycles
from vta_sw.lower.choice import TilingChoice

CONFIGS = ("tiny", "pynq-z1", "int4")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for what tuning finds."""
    monkeypatch.setattr("vta_app.tuned_cache.tuned_file", lambda cfg: tmp_path / f"{cfg.name}.json")
    return tmp_path


def quantized(name: str) -> onnx.ModelProto:
    return quantize(network(), load_config(name), images())


def saved(name: str, folder: Path) -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(quantized(name), path)
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_what_tuning_finds_is_used_and_right(name: str, tmp_path: Path) -> None:
    cfg, path = load_config(name), saved(name, tmp_path)
    report = tune(path, cfg, trials=24, backend=TuningBackend.MODEL)
    assert report.layers
    assert all(layer.tuned <= layer.untuned for layer in report.layers)
    choice = TilingChoice({key: item.sizes for key, item in load_tuned(cfg).items()})
    program = compile(path, cfg, choice=choice)
    assert len(choice.from_tuning) == len(report.layers)
    x = images()[:2]
    expected = Executor(compile(path, cfg), FunctionalDevice(cfg)).run({"x": x})
    found = Executor(program, FunctionalDevice(cfg)).run({"x": x})
    assert all(np.array_equal(found[output], values) for output, values in expected.items())


def test_a_sample_takes_as_long_as_the_layer_in_its_network(tmp_path: Path) -> None:
    """Without data and without a network around it: the same instructions, but for where their data lie."""
    cfg = load_config("tiny")
    compilation = Compilation(saved("tiny", tmp_path), cfg)
    program = compilation.run()
    lowering = compilation.lowering("conv")
    with RtlDevice(cfg) as device:
        runner = SampleRunner(device, cfg)
        found = runner.cycles(*lowering.sample(lowering.tiling))
        assert found == runner.cycles(*lowering.sample(lowering.tiling))
    assert len(decode_stream(cfg, program.layer_stream("conv"))) > 5
    assert found == pytest.approx(layer_cycles(program, "conv"), rel=0.05)


def test_a_tiling_that_is_not_legal_is_not_used(tmp_path: Path) -> None:
    """The cache only chooses among candidates, which are legal by construction."""
    cfg, path = load_config("tiny"), saved("tiny", tmp_path)
    tune(path, cfg, trials=2, backend=TuningBackend.MODEL)
    known = {key: {**item.sizes, "rows": 999} for key, item in load_tuned(cfg).items()}
    choice = TilingChoice(known)
    compile(path, cfg, choice=choice)
    assert not choice.from_tuning


def test_a_damaged_cache_is_refused(cache: Path) -> None:
    cfg = load_config("tiny")
    for text in ("{", '{"format": 9}', '{"format": 1, "tilings": {"a": {"sizes": {"rows": 1.5}}}}'):
        (cache / "tiny.json").write_text(text)
        with pytest.raises(DataError, match="delete it, and tune again"):
            load_tuned(cfg)


def test_the_file_names_configuration_and_versions() -> None:
    first, second = (tuned_file(load_config(name)) for name in ("tiny", "int4"))
    assert first != second
    assert load_config("tiny").fingerprint_hex in first.name


def test_tuning_twice_keeps_both(tmp_path: Path) -> None:
    cfg = load_config("tiny")
    save_tuned(cfg, {})
    tune(saved("tiny", tmp_path), cfg, trials=1, backend=TuningBackend.MODEL)
    before = json.loads((tmp_path / "tiny.json").read_text())["tilings"]
    save_tuned(cfg, {})
    assert json.loads((tmp_path / "tiny.json").read_text())["tilings"] == before


def test_this_machine_has_a_profile() -> None:
    profile = measure_host("here", 0.01)
    assert profile.float_macs > 1e6
    assert 0 < profile.node_seconds < 1e-2


def test_commands(vta: Callable[..., Any], tmp_path: Path) -> None:
    """compile, explain and tune with their options, as a user types them."""
    path = saved("tiny", tmp_path)
    made = vta("compile", path, "--config", "tiny", "-o", "p.vta", "--offload", "all", "--keep-on-cpu", "add")
    assert made.status == 0, made.err
    assert "'add' because kept on the CPU by --keep-on-cpu" in made.err
    made = vta("explain", path, "--config", "tiny", "--json", "--offload", "none", "--force", "conv,dense")
    assert made.status == 0, made.err
    found = json.loads(made.out)
    assert {node["name"] for node in found["nodes"] if node["where"] == "accelerator"} == {"conv", "dense"}
    made = vta("tune", path, "--config", "tiny", "--backend", "model", "--trials", "3", "--json", "t.json")
    assert made.status == 0, made.err
    assert all(layer["gain_percent"] >= 0 for layer in json.loads((tmp_path / "t.json").read_text()))
    made = vta("explain", path, "--config", "tiny", "--tilings", "--offload", "all")
    assert "(tuned)" in made.out
    made = vta("compile", path, "--config", "tiny", "-o", "p.vta", "--offload", "all", "--cpu", "numpy")
    assert made.status == 0, made.err
    assert "that `vta tune` found" in made.err
