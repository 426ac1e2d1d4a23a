"""``vta config``, ``vta --version`` and what happens to standard output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import vta_app
from vta_arch.presets import load_preset, preset_names

UPSTREAM = {
    "TARGET": "sim",
    "HW_VER": "0.0.2",
    "LOG_INP_WIDTH": 3,
    "LOG_WGT_WIDTH": 3,
    "LOG_ACC_WIDTH": 5,
    "LOG_BATCH": 0,
    "LOG_BLOCK": 4,
    "LOG_UOP_BUFF_SIZE": 15,
    "LOG_INP_BUFF_SIZE": 15,
    "LOG_WGT_BUFF_SIZE": 18,
    "LOG_ACC_BUFF_SIZE": 17,
}


def test_version(vta: Callable) -> None:
    assert vta("--version").out == f"vta {vta_app.__version__}\n"


def test_list_names_every_preset(vta: Callable) -> None:
    lines = vta("config", "list").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == preset_names()
    assert {line.split()[-1] for line in lines[1:]} == {load_preset(n).fingerprint_hex for n in preset_names()}


def test_list_as_json(vta: Callable) -> None:
    values = json.loads(vta("config", "list", "--json").out)
    assert list(values) == preset_names()
    assert values["classic"]["derived"]["acc_depth"] == 2048


@pytest.mark.parametrize("name", ["pynq-z1", "tiny", "int4"])
def test_show(vta: Callable, name: str) -> None:
    text = vta("config", "show", name).out
    cfg = load_preset(name)
    assert cfg.fingerprint_hex in text
    assert json.loads(vta("config", "show", name, "--json").out)["parameters"] == cfg.to_dict()


def test_show_of_an_upstream_file(vta: Callable, tmp_path: Path) -> None:
    (tmp_path / "vta_config.json").write_text(json.dumps(UPSTREAM))
    shown = json.loads(vta("config", "show", "vta_config.json", "--json").out)
    assert shown["fingerprint"] == load_preset("classic").fingerprint_hex


def test_a_configuration_that_cannot_be_encoded(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(json.dumps(UPSTREAM | {"LOG_ACC_BUFF_SIZE": 20}))
    line = refused("config", "show", "big.json")
    assert "4A+20 <= 64" in line
    assert "nearest legal log_acc_buff is 17" in line


def test_unknown_preset_names_the_presets(refused: Callable) -> None:
    assert "presets: pynq-z1" in refused("config", "show", "pynq-z9")


def test_file_that_is_no_configuration(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_bytes(bytes(range(256)))
    assert "noise.toml" in refused("config", "show", "noise.toml")


def test_full_standard_output_is_one_line(vta_process: Callable) -> None:
    outcome = vta_process("config", "list", stdout=Path("/dev/full"))
    assert outcome.status == 1
    assert outcome.err == "vta: error: No space left on device\n"


def test_every_command_shows_an_example(vta: Callable) -> None:
    for command in ("verilog", "synth", "model", "quantize", "compile", "run", "exec", "disasm"):
        assert f"Example: vta {command}" in vta(command, "--help").out
    for command in ("list", "show"):
        assert "Example: vta config" in vta("config", command, "--help").out
