"""``vta board`` as a person types it; Vivado is a stand-in in a Tcl interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vivado_standin import has_tcl, install

VTA = [sys.executable, "-m", "vta_app.main"]


def vta(*arguments: str | Path, path: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(
        [*VTA, *map(str, arguments)], capture_output=True, text=True, timeout=200, env=environment, check=False
    )


def test_list() -> None:
    rows = json.loads(vta("board", "list", "--json").stdout)
    assert [row["board"] for row in rows][:2] == ["pynq-z1", "pynq-z2"]
    table = vta("board", "list").stdout.splitlines()
    assert len(table) == len(rows) + 1
    assert table[0].split()[0] == "board"


@pytest.mark.skipif(not has_tcl(), reason="no Tcl interpreter")
def test_build_with_and_without_the_tool(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    alone = vta("board", "build", "pynq-z1", "-c", "tiny", "-o", folder, "--clock", "125", path="/usr/bin:/bin")
    assert alone.returncode == 0, alone.stderr
    assert "vivado is not on PATH; source Vivado's settings64.sh first; then, in" in alone.stderr
    assert "set vta(clock_mhz) {125}" in (folder / "settings.tcl").read_text()
    (folder / "vta_pynq_z1_tiny.bit").write_text("of 125 MHz")
    other = vta("board", "build", "pynq-z2", "-c", "tiny", "-o", folder)
    assert other.returncode == 1
    assert "holds a build of board 'pynq-z1', this one is of 'pynq-z2'; give another folder" in other.stderr
    assert len(other.stderr.splitlines()) == 1

    path = f"{install(tmp_path / 'bin')}:/usr/bin:/bin"
    built = vta("board", "build", "pynq-z1", "-c", "tiny", "-o", folder, path=path)
    assert built.returncode == 0, built.stderr
    assert "removed vta_pynq_z1_tiny.bit, of an earlier build" in built.stderr
    assert built.stderr.splitlines()[-1].endswith(
        "vta_pynq_z1_tiny.bit, vta_pynq_z1_tiny.hwh, vta_pynq_z1_tiny.bin, vta_pynq_z1_tiny.xsa"
    )
    assert "setup slack 0.214 ns" in built.stderr


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments, said in {
        ("zedboard", "-o", str(tmp_path / "x")): "board 'zedboard' is unknown; known boards: ",
        ("pynq-z1", "-c", "kv260", "-o", str(tmp_path / "x")): "use --config pynq-z1",
        ("pynq-z1", "-c", "tiny", "--clock", "0", "-o", str(tmp_path / "x")): "clock_mhz = 0",
    }.items():
        done = vta("board", "build", *arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x").exists()
