"""``vta export c`` as a person types it: what it writes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import vta_app
from app_networks import images, network, write_files
from vta_arch.presets import load_preset


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Leaves p.vta and data.npz in the folder."""
    write_files(tmp_path)
    cfg = load_preset("tiny")
    vta_app.compile(vta_app.quantize(network(), cfg, images()), cfg).save(tmp_path / "p.vta")
    return tmp_path / "p.vta"


def test_writes_a_folder(vta: Callable, program: Path, tmp_path: Path) -> None:
    outcome = vta("export", "c", program, "--input", "data.npz", "--limit", 2, "-o", "a/b", "--json", "e.json")
    assert outcome.status == 0, outcome
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["files"] == {path.name: path.stat().st_size for path in (tmp_path / "a/b").iterdir()}
    assert (found["inputs"], found["outputs"]) == (["x"], ["y"])
    assert found["arena_bytes"] % 4096 == 0
    assert "#define SAMPLE_IMAGES 2u" in (tmp_path / "a/b/sample.h").read_text()
    assert "tiny" in (tmp_path / "a/b/program.h").read_text()
    again = vta("export", "c", program, "-o", "a/b", "--name", "digits", "--integers", "all", "--json", "e.json")
    assert again.status == 0, again
    assert json.loads((tmp_path / "e.json").read_text())["outputs"] == ["y_q"]
    text = (tmp_path / "a/b/digits.c").read_text()
    assert '{"y_q", "int8", 3, 3, 2, {1, 3}, 0x' in text
    assert "vta_quantize" not in text


def test_mistakes(refused: Callable[..., str], program: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.vta").write_text("no program")
    assert "bad.vta" in refused("export", "c", "bad.vta", "-o", "d")
    assert "file: cannot be made" in refused("export", "c", program, "-o", "file")
    assert "name .9x.: must be small letters" in refused("export", "c", program, "-o", "d", "--name", "9x").replace(
        "'", "."
    )
    line = refused("export", "c", program, "-o", "d", "--input", "data.npz:wrong")
    assert "sample 'x' is float32 [1, 3, 5, 5]; it must be numeric, [images, 4, 6, 6]" in line
    assert "it has" in refused("export", "c", program, "-o", "d", "--input", "data.npz:none")


def test_an_operator_without_a_form_in_c(refused: Callable[..., str], vta: Callable, tmp_path: Path) -> None:
    """A Softmax at the end: refused by name; with integers at the outputs it is left out."""
    model = network()
    model.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["prob"], name="soft"))
    model.graph.output[0].name = "prob"
    cfg = load_preset("tiny")
    vta_app.compile(vta_app.quantize(model, cfg, images()), cfg).save(tmp_path / "p.vta")
    line = refused("export", "c", "p.vta", "-o", "d")
    assert "node 'soft' (Softmax): exported C has no such operator" in line
    assert "--integers all" in line
    assert vta("export", "c", "p.vta", "-o", "d", "--integers", "outputs").status == 0
    assert "#define PROGRAM_INPUT_X 0" in (tmp_path / "d/program.h").read_text()
    assert np.sum(["vta_quantize(" in text for text in (tmp_path / "d/program.c").read_text().splitlines()]) == 1
