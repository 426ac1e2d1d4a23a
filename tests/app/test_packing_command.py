"""``vta compile --packing``: what is packed is said, listed, and runs whole and layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_networks import write_files


@pytest.mark.parametrize("config", ["tiny", "pynq-z1", "int4"])
def test_packing_is_said_and_runs(vta: Callable, config: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    quantize = ("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "--edge-bits", "0")
    assert vta(*quantize, "-c", config).status == 0
    outcome = vta("compile", "q.onnx", "-o", "p.vta", "-c", config, "--packing", "cycles")
    assert outcome.status == 0, outcome
    assert "input of 'conv': " in outcome.out + outcome.err
    notes = [line for line in vta("disasm", "p.vta").out.splitlines() if line.startswith("# ")]
    assert any(line.startswith("# layer conv: ") and "of the CPU); instead of " in line for line in notes)
    packed = [line for line in notes if line.startswith("# packing ")]
    assert len(packed) == ("window packed into" in outcome.out + outcome.err)
    for arguments in (["--check"], ["--layer", "conv"]):
        assert vta("run", "p.vta", "--input", "data.npz", "--limit", "3", *arguments).status == 0


def test_unknown_packing(vta: Callable, refused: Callable, tmp_path: Path) -> None:
    write_files(tmp_path)
    vta("quantize", "f.onnx", "--calibration", "data.npz", "-o", "q.onnx", "-c", "tiny")
    assert "choose one of time, cycles, none" in refused(
        "compile", "q.onnx", "-o", "p.vta", "-c", "tiny", "--packing", "much"
    )
