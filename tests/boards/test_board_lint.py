"""The tops that boards get, through Verilator's lint and Icarus Verilog."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from vta_arch.presets import load_preset
from vta_boards.board import find_board
from vta_boards.ps7_top import PS7_TOP, generate_ps7_verilog
from vta_boards.vivado import vivado_files
from vta_boards.wrapper import WRAPPER_NAME
from vta_sim.random_configs import named_configs
from vta_sim.verilator_tool import find_verilator

OF_THE_WRITER = ("ASCRANGE", "CASEINCOMPLETE", "CMPCONST", "DECLFILENAME", "PROCASSINIT", "SYMRSVDWORD")
"""What Yosys' Verilog has by its style; latches, loops, open pins and two drivers are none of it."""
WIDTHS = ("UNUSEDSIGNAL", "WIDTHEXPAND", "WIDTHTRUNC")
PRIMITIVES = Path(__file__).with_name("ps7_model.v")
CONFIGS = {"tiny": load_preset("tiny")} | {name: named_configs()[name] for name in ("int4", "x-int2")}
ICARUS = ("iverilog", "-g2005", "-Wall", "-t", "null", "-s", WRAPPER_NAME)


def sources(folder: Path, name: str) -> list[Path]:
    """Verilog files of a build for the PYNQ-Z1."""
    files = vivado_files(find_board("pynq-z1"), CONFIGS[name], "lint")
    paths = [folder / file for file in files if file.endswith(".v")]
    for path in paths:
        path.write_text(files[path.name], encoding="utf-8")
    return paths


def lint(top: str, paths: list[Path], folder: Path) -> str:
    verilator = find_verilator()
    quiet = [f"-Wno-{name}" for name in (*OF_THE_WRITER, *WIDTHS)]
    command = [verilator.binary, "--lint-only", "-Wall", *quiet, "--top-module", top, *paths]
    done = subprocess.run(
        command, cwd=folder, env=verilator.environment, capture_output=True, text=True, timeout=250, check=False
    )
    return done.stderr + done.stdout


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_said(tmp_path: Path, name: str) -> None:
    """By Verilator; and by Icarus (Debian: iverilog) where it is installed."""
    paths = sources(tmp_path, name)
    assert "%Warning" not in (said := lint(WRAPPER_NAME, paths, tmp_path)), said[:2000]
    assert "%Error" not in said, said[:2000]
    if shutil.which(ICARUS[0]):
        done = subprocess.run([*ICARUS, *map(str, paths)], capture_output=True, text=True, timeout=250, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_ps7_top_has_no_open_or_wrong_pin(tmp_path: Path) -> None:
    """Against the primitive's declared ports, by name and width. The model's hierarchical names need its test top."""
    path = tmp_path / f"{PS7_TOP}.v"
    declared = PRIMITIVES.read_text(encoding="utf-8")
    ports = declared[declared.index("module PS7") : declared.index(");", declared.index("module PS7")) + 2]
    buffer = "(* blackbox *) module BUFG(input I, output O); endmodule\n"
    path.write_text(
        f"{buffer}(* blackbox *) {ports} endmodule\n{generate_ps7_verilog(CONFIGS['tiny'])}", encoding="utf-8"
    )
    said = lint(PS7_TOP, [path], tmp_path)
    wrong = [line for line in said.splitlines() if "PIN" in line and "PINCONNECTEMPTY" not in line]
    assert not wrong, wrong[:5]
    assert "%Error: " not in said.replace("%Error: Exiting", ""), said[:2000]
