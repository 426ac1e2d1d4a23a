"""``vta bench``: both networks side by side, and cycles from the model and from the RTL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from app_networks import network, write_files
from vta_app import compile, load_config
from vta_arch.program import Region
from vta_sw.cycles.program import region_cycles

BENCH = ("bench", "f.onnx", "q.onnx", "--data", "data.npz")


@pytest.fixture(params=["tiny", "pynq-z1", "int4"])
def config(request: pytest.FixtureRequest, vta: Callable, tmp_path: Path) -> str:
    """Leaves f.onnx, q.onnx and data.npz; the configuration's name."""
    write_files(tmp_path)
    name = str(request.param)
    quantize = ("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "--edge-bits", "0")
    assert vta(*quantize, "-c", name).status == 0
    return name


def test_both_sides(vta: Callable, config: str, tmp_path: Path) -> None:
    outcome = vta(*BENCH, "-c", config, "--limit", "6", "--json", "b.json")
    assert outcome.status == 0, outcome
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["float"]["bytes"] == (tmp_path / "f.onnx").stat().st_size
    assert found["quantized"]["bytes"] == (tmp_path / "q.onnx").stat().st_size
    assert min(found[side]["cpu_seconds"] for side in ("float", "quantized")) > 0
    assert found["comparison"]["samples"] == 6
    assert 0 <= found["comparison"]["top1"] <= 100
    program = compile(tmp_path / "q.onnx", load_config(config))
    cycles = sum(region_cycles(program, step) for step in program.steps if isinstance(step, Region))
    assert found["accelerator"]["cycles"] == cycles > 0
    assert found["accelerator"]["rtl_cycles"] is None
    assert f"{cycles:,}" in outcome.out


def test_cycles_of_the_rtl(vta: Callable, tmp_path: Path) -> None:
    write_files(tmp_path)
    assert vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "-c", "tiny").status == 0
    outcome = vta(*BENCH, "-c", "tiny", "--backend", "rtl", "--json", "b.json")
    assert outcome.status == 0, outcome
    found = json.loads((tmp_path / "b.json").read_text())["accelerator"]
    assert found["differing"] == 0
    assert found["rtl_cycles"] == pytest.approx(found["cycles"], rel=0.1)


def test_mistakes(vta: Callable, refused: Callable, tmp_path: Path) -> None:
    write_files(tmp_path)
    vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "-c", "tiny")
    other = network()
    other.graph.input[0].name = other.graph.node[0].input[0] = other.graph.node[2].input[1] = "image"
    onnx.save(other, tmp_path / "other.onnx")
    assert "has inputs x, the float network image" in refused(
        "bench", "other.onnx", "q.onnx", "--data", "data.npz", "-c", "tiny"
    )
    assert "data for 'x': shape" in refused(*BENCH[:-1], "data.npz:wrong", "-c", "tiny")
    assert "nothing.onnx" in refused("bench", "f.onnx", "nothing.onnx", "--data", "data.npz", "-c", "tiny")
