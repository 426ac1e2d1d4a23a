"""The boards as data: platforms, listing, build folders and the open flow's script."""

from __future__ import annotations

import importlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from vta_arch.errors import BoardError
from vta_arch.presets import load_config, load_preset, preset_names
from vta_boards.board import BOARDS, find_board
from vta_boards.build import CONFIG, MANIFEST, Build, write_folder
from vta_boards.listing import board_rows
from vta_boards.openxc7 import OPENXC7
from vta_boards.parts import XC7Z020
from vta_boards.ps7_setup import choose_clock
from vta_boards.sizes import fitting, record, recorded
from vta_boards.synth import Usage


@pytest.mark.parametrize("key", BOARDS)
def test_platform_is_the_boards_device(key: str) -> None:
    board = BOARDS[key]
    module, name = board.platform.split(":")
    platform = getattr(importlib.import_module(module), name)(toolchain="Vivado")
    assert platform._part.lower() == board.device.lower()
    assert board.device.lower().startswith(board.part.name)
    assert platform.resources or board.key == "microzed"  # a module, whose pins are its connectors


@pytest.mark.parametrize("key", BOARDS)
def test_the_preset_suits_the_board(key: str) -> None:
    board = BOARDS[key]
    assert board.preset in preset_names()
    assert Build(board, load_preset(board.preset), "vivado").products[0].endswith(".bit")
    same_part = [other.name for other in BOARDS.values() if other.part == board.part]
    assert load_preset(board.preset).board in same_part


def test_mistakes_name_the_way_out() -> None:
    with pytest.raises(BoardError, match="board 'zedboard' is unknown; known boards: pynq-z1, "):
        find_board("zedboard")
    with pytest.raises(BoardError, match="S_AXI_HP0 of PYNQ-Z1 has 32, 64 bits; use --config pynq-z1"):
        Build(find_board("pynq-z1"), load_preset("kv260"), "vivado")
    with pytest.raises(BoardError, match="flow 'ise' is unknown; known flows: vivado, openxc7"):
        Build(find_board("pynq-z1"), load_preset("tiny"), "ise")
    with pytest.raises(BoardError, match="openXC7 knows Zynq-7000 only"):
        Build(find_board("zcu104"), load_preset("tiny"), "openxc7").files()


def test_rows_show_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two presets measured, for one family, of which one is too large."""
    sizes = {"tiny": {"xc7": Usage(1, 2, 3, 4.5, None)}, "pynq-z1": {"xc7": Usage(99_999, 2, 3, 4.5, None)}}
    for module in ("sizes", "listing"):
        monkeypatch.setattr(f"vta_boards.{module}.recorded", lambda: sizes)
    rows = {row.board: row for row in board_rows()}
    assert list(rows) == list(BOARDS)
    assert rows["pynq-z1"].memory_bits == 64
    for key, board in BOARDS.items():
        assert rows[key].fits == (["tiny"] if board.part.family == "xc7" else None)


def test_a_size_counts_only_for_its_configuration(tmp_path: Path) -> None:
    path, cfg = tmp_path / "sizes.json", load_preset("tiny")
    record(path, cfg, "xc7", Usage(1, 2, 3, 4.5, 2.0))
    record(path, cfg, "xcup", Usage(1, 2, 3, 4.5, None))
    values = json.loads(path.read_text())
    assert set(values["tiny"]) == {"fingerprint", "xc7", "xcup"}
    assert values["tiny"]["fingerprint"] == cfg.fingerprint_hex
    for name, families in recorded().items():
        assert all(isinstance(usage, Usage) for usage in families.values()), name
    assert set(fitting(XC7Z020)) <= set(preset_names())


_STEPS = [
    f"step {number} of 4: {what}" for number, what in ((2, "placement and routing"), (3, "frames"), (4, "bitstream"))
]


@pytest.mark.parametrize("preset", ["tiny", "pynq-z1", "int4-pynq"])
def test_open_flow_runs_its_tools_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    """Stand-ins record what they are asked, and make the file that the next one wants."""
    board, cfg = find_board("arty-z7-20"), load_preset(preset)
    plan, folder, bin_folder = Build(board, cfg, "openxc7"), tmp_path / "build", tmp_path / "bin"
    monkeypatch.setattr("vta_boards.openxc7.generate_ps7_verilog", lambda _cfg: "// top\n")
    write_folder(folder, plan)
    bin_folder.mkdir()
    for tool in OPENXC7.tools:
        program = bin_folder / tool
        makes = '[ $1 = --chipdb ] && echo "Info: $SAID" > nextpnr.log\n'
        makes += '[ $1 = --part ] && echo frames; [ "$7" = --output_file ] && echo bits > "$8"; true'
        program.write_text(f'#!/bin/sh\necho "{tool} $*" >> "{tmp_path}/told"\n{makes}\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    monkeypatch.setenv("CHIPDB", "/chips")
    monkeypatch.setenv("PRJXRAY_DB", "/ray")
    monkeypatch.setenv("SAID", "Max frequency for clock 'fabric_clk': 150.00 MHz (PASS at 142.86 MHz)")
    assert OPENXC7.run(folder, 60, lambda *_: None)[1:] == [*_STEPS, f"done: {plan.stem}.bit"]
    yosys, nextpnr, frames, bits = (tmp_path / "told").read_text().splitlines()
    assert "synth_xilinx -family xc7 -top vta_ps7_top -flatten" in yosys
    assert "nobram" not in yosys
    assert "--chipdb /chips/xc7z020clg400.bin --xdc constraints.xdc" in nextpnr
    assert f"--freq {cfg.clock_mhz:g}" in nextpnr
    assert frames.startswith("fasm2frames --part xc7z020clg400-1 --db-root /ray/zynq7")
    assert bits.endswith(f"--frm_file {plan.stem}.frames --output_file {plan.stem}.bit")
    monkeypatch.setenv("SAID", "Max frequency for clock 'fabric_clk': 99.00 MHz (FAIL at 142.86 MHz)")
    with pytest.raises(BoardError, match=r"openxc7: timing failed: Max .*: 99.00 MHz .*; choose a lower --clock"):
        OPENXC7.run(folder, 60, lambda *_: None)
    assert not (folder / f"{plan.stem}.bit").exists()
    period = float((folder / "constraints.xdc").read_text().split("-period ")[1].split()[0])
    assert period == pytest.approx(1000 / cfg.clock_mhz, abs=1e-3)


def test_open_flow_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "yosys is not on PATH; install openXC7" in OPENXC7.missing()
    with pytest.raises(BoardError, match="yosys is not on PATH"):
        OPENXC7.run(tmp_path, 5, lambda *_: None)


def test_the_folder_has_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vta_boards.vivado.generate_verilog", lambda _cfg: "// top\n")
    plan = Build(find_board("zybo-z7-20"), load_preset("int4-pynq"), "vivado")
    write_folder(tmp_path / "new" / "build", plan)
    folder = tmp_path / "new" / "build"
    assert load_config(folder / CONFIG) == plan.cfg
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["fingerprint"] == plan.cfg.fingerprint_hex
    assert manifest["stem"] == plan.stem == "vta_zybo_z7_20_int4_pynq"
    page = (folder / "README.md").read_text()
    assert " ".join(["vivado", "-mode", "batch"]) in page
    assert all(len(line) <= 120 for line in page.splitlines())
    (tmp_path / "file").touch()
    with pytest.raises(BoardError, match="is a file"):
        write_folder(tmp_path / "file", plan)


def test_products_stay_only_with_the_files_that_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations of one name, so that all products have one name."""
    monkeypatch.setattr("vta_boards.vivado.generate_verilog", lambda cfg: f"// {cfg.fingerprint_hex}\n")
    board, cfg = find_board("pynq-z1"), load_preset("tiny")
    plan = Build(board, cfg, "vivado")
    assert write_folder(tmp_path, plan) == []
    for name in plan.products:
        (tmp_path / name).touch()
    assert write_folder(tmp_path, plan) == []
    assert all((tmp_path / name).exists() for name in plan.products)
    for changed in ({"clock_mhz": 99.0}, {"log_inp_buff": cfg.log_inp_buff + 1}):
        for name in plan.products:
            (tmp_path / name).touch()
        assert write_folder(tmp_path, Build(board, replace(cfg, **changed), "vivado")) == plan.products
        assert not any((tmp_path / name).exists() for name in plan.products)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vta_boards.vivado.generate_verilog", lambda _cfg: "// top\n")
    monkeypatch.setattr("vta_boards.openxc7.generate_ps7_verilog", lambda _cfg: "// top\n")
    cfg = load_preset("tiny")
    plan = Build(find_board("pynq-z1"), cfg, "vivado")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(BoardError, match="is not empty and holds no build; give another folder"):
        write_folder(tmp_path / "mine", plan)
    write_folder(tmp_path / "build", plan)
    before = {file: file.read_bytes() for file in (tmp_path / "build").iterdir()}
    for other in (Build(find_board("pynq-z2"), cfg, "vivado"), Build(find_board("pynq-z1"), cfg, "openxc7")):
        with pytest.raises(BoardError, match=r"holds a build of (board 'pynq-z1'.*'pynq-z2'|flow 'vivado'.*'openxc7')"):
            write_folder(tmp_path / "build", other)
    (tmp_path / "build" / MANIFEST).write_text("{")
    with pytest.raises(BoardError, match="is damaged"):
        write_folder(tmp_path / "build", plan)
    (tmp_path / "build" / MANIFEST).write_bytes(before[tmp_path / "build" / MANIFEST])
    assert {file: file.read_bytes() for file in (tmp_path / "build").iterdir()} == before


@pytest.mark.parametrize("key", [key for key, board in BOARDS.items() if board.system.family == "zynq7"])
def test_one_clock(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Vivado is asked for, what openXC7 constrains and what is set on the board, where the IO PLL has 1 GHz."""
    monkeypatch.setattr("vta_boards.vivado.generate_verilog", lambda _cfg: "// top\n")
    monkeypatch.setattr("vta_boards.openxc7.generate_ps7_verilog", lambda _cfg: "// top\n")
    board = find_board(key)
    cfg = load_preset(board.preset)
    settings, open_files = (Build(board, cfg, flow).files() for flow in ("vivado", "openxc7"))
    asked = float(settings["settings.tcl"].split("clock_mhz) {")[1].split("}")[0])
    period = float(open_files["constraints.xdc"].split("-period ")[1].split()[0])
    given = float(open_files["build.sh"].split("--freq ")[1].split()[0])
    made = choose_clock(board.crystal_mhz * round(1000 / board.crystal_mhz), cfg.clock_mhz).mhz
    assert [asked, given, 1000 / period, made] == pytest.approx([cfg.clock_mhz] * 4, rel=1e-5)
