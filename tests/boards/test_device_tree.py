"""The overlay: what it says for each board, and that dtc takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from vta_arch.presets import load_preset
from vta_boards.board import BOARDS, CONTROL_SIZE
from vta_boards.device_tree import overlay
from vta_boards.devices.opening import BUFFER_NAME, UIO_NAME


@pytest.mark.parametrize("key", BOARDS)
def test_facts_of_the_board(key: str) -> None:
    board = BOARDS[key]
    text = overlay(board, load_preset(board.preset), "vta.bin", memory_mib=96)
    system = board.system
    assert f"{UIO_NAME}@{system.control_base:x} {{" in text
    cells = [int(cell, 16) for cell in re.search(r"reg = <(.*)>;", text).group(1).split()]  # type: ignore[union-attr]
    wanted = [system.control_base, CONTROL_SIZE]
    assert cells == (wanted if system.family == "zynq7" else [0, wanted[0], 0, wanted[1]])
    assert f"interrupts = <0 {system.gic_interrupt} 4>;" in text
    assert f'device-name = "{BUFFER_NAME}";' in text
    assert "size = <0x06000000>;" in text
    assert 'firmware-name = "vta.bin";' in text
    assert f"assigned-clock-rates = <{round(load_preset(board.preset).clock_mhz * 1e6)}>;" in text
    assert text.count("{") == text.count("}")


def test_width_of_the_port() -> None:
    assert "config-afi = <4 0>, <5 0>, <14 0x0>;" in overlay(BOARDS["zcu104"], load_preset("zcu104"), "x.bin")
    assert "config-afi = <4 1>, <5 1>, <14 0x0>;" in overlay(BOARDS["zcu104"], load_preset("pynq-z1"), "x.bin")
    assert "config-afi" not in overlay(BOARDS["pynq-z1"], load_preset("pynq-z1"), "x.bin")


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is missing (Debian: device-tree-compiler)")
@pytest.mark.parametrize("key", ["pynq-z1", "kv260"])
def test_compiles_and_leaves_labels_to_the_kernel(key: str, tmp_path: Path) -> None:
    board = BOARDS[key]
    source, compiled = tmp_path / "pl.dtso", tmp_path / "pl.dtbo"
    source.write_text(overlay(board, load_preset(board.preset), "vta.bin"))
    made = subprocess.run(
        ["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", compiled, source], capture_output=True, text=True, timeout=30
    )
    assert (made.returncode, [line for line in made.stderr.splitlines() if "ERROR" in line]) == (0, [])
    back = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", compiled], capture_output=True, text=True, timeout=30)
    for label in ("fpga_full", "intc" if board.system.family == "zynq7" else "gic"):
        assert re.search(rf"\b{label} = ", back.stdout), back.stdout
