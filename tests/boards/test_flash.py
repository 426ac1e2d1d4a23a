"""Programming a board: exact commands in order, recorded by stand-ins on PATH; failing steps, wrong builds."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import pytest
import typer
from build_folder import bit_file, make_build, words
from typer.testing import CliRunner
from vta_app.commands import board_flash
from vta_arch.errors import BoardError
from vta_arch.presets import load_preset
from vta_boards import build as build_module
from vta_boards.board import BOARDS
from vta_boards.build import Build, finish, write_folder
from vta_boards.build_result import CONFIG, MANIFEST, BuildResult, read_build
from vta_boards.flash import MANAGER, OVERLAY, SSH, flash
from vta_boards.steps import Step
from vta_boards.via import Via

Z1, KV260 = BOARDS["pynq-z1"], BOARDS["kv260"]
TOOLS = ("openFPGALoader", "ssh", "scp", "dtc")


class Bench:
    """Stand-ins of the tools, which write down what they are told and fail when they find a text in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for tool in TOOLS:
            self.put(tool, "")

    def put(self, tool: str, action: str) -> None:
        """A stand-in that records its name and arguments, a line each, and then does ``action``."""
        path = self.folder / tool
        record = f"{{ printf '%s\\n' {tool} \"$@\"; echo; }} >> {self.log}"
        path.write_text(f"#!/bin/sh\n{record}\n{action}\n")
        path.chmod(0o755)

    def told(self) -> list[list[str]]:
        """Commands with their arguments."""
        if not self.log.exists():
            return []
        return [entry.splitlines() for entry in self.log.read_text().split("\n\n") if entry]

    def remote(self) -> list[str]:
        """Lines of shell that the board was asked to run, taken out of ssh, sudo and sh."""
        lines = []
        for command in self.told():
            if command[0] == "ssh":
                words = shlex.split(command[-1])
                assert words[:4] == ["sudo", "-n", "sh", "-c"]
                lines.append(words[4])
        return lines


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return Bench(folder)


@pytest.fixture
def build(tmp_path: Path) -> BuildResult:
    folder = tmp_path / "a build"
    folder.mkdir()
    return make_build(folder, Z1, load_preset("pynq-z1"))


def test_jtag(bench: Bench, build: BuildResult) -> None:
    shown: list[str] = []
    flash(Z1, build.folder, Via.JTAG, report=shown.append)
    assert bench.told() == [["openFPGALoader", "-c", "digilent", str(build.file(".bit"))]]
    assert shown == [f"load the bitstream: openFPGALoader -c digilent '{build.file('.bit')}'"]


def test_ssh_with_fpgautil(bench: Bench, build: BuildResult) -> None:
    flash(Z1, build.folder, Via.SSH, host="xilinx@pynq", report=lambda _line: None)
    stem, told = build.stem, bench.told()
    assert [command[0] for command in told] == ["dtc", "scp", "ssh", "ssh", "ssh", "ssh"]
    assert told[1] == ["scp", *SSH, str(build.file(".bin")), str(build.file(".dtbo")), "xilinx@pynq:/tmp/"]
    assert all(command[1:-1] == [*SSH, "xilinx@pynq"] for command in told[2:])
    assert bench.remote() == [
        "command -v fpgautil || echo absent",
        f"fpgautil -b /tmp/{stem}.bin -o /tmp/{stem}.dtbo",
        f"if [ -e {MANAGER}/state ]; then grep -qx operating {MANAGER}/state; fi",
        "python3 -m vta_boards.ps7_setup --clock-mhz 142.857 --port-bits 64 --crystal-mhz 50",
    ]
    assert build.file(".bin").read_bytes() == b"".join(words()[at : at + 4][::-1] for at in range(0, len(words()), 4))
    assert f'firmware-name = "{stem}.bin";' in build.file(".dtso").read_text()


def test_ssh_with_fpga_manager(bench: Bench, build: BuildResult) -> None:
    bench.put("ssh", 'case "$*" in *fpgautil*) echo absent;; esac')
    flash(Z1, build.folder, Via.SSH, host="xilinx@pynq", report=lambda _line: None)
    stem = build.stem
    assert bench.remote() == [
        "command -v fpgautil || echo absent",
        f"if [ -d {OVERLAY} ]; then rmdir {OVERLAY}; fi",
        f"mkdir -p /lib/firmware && cp /tmp/{stem}.bin /lib/firmware/{stem}.bin",
        f"echo 0 > {MANAGER}/flags",
        f"echo {stem}.bin > {MANAGER}/firmware",
        f"mkdir -p {OVERLAY} && cat /tmp/{stem}.dtbo > {OVERLAY}/dtbo && grep -qx applied {OVERLAY}/status",
        f"if [ -e {MANAGER}/state ]; then grep -qx operating {MANAGER}/state; fi",
        "python3 -m vta_boards.ps7_setup --clock-mhz 142.857 --port-bits 64 --crystal-mhz 50",
    ]


def test_a_sudo_that_wants_a_password_is_named(bench: Bench, build: BuildResult) -> None:
    bench.put("ssh", 'echo "sudo: a password is required" >&2; exit 1')
    with pytest.raises(BoardError, match=r"'look for fpgautil' failed: sudo: a password .*; let the user use sudo"):
        flash(Z1, build.folder, Via.SSH, host="xilinx@pynq", report=lambda _line: None)
    assert len(bench.remote()) == 1


def test_root_needs_no_sudo_and_zynqmp_no_setup(bench: Bench, tmp_path: Path) -> None:
    build = make_build(tmp_path, KV260, load_preset("kv260"))
    flash(KV260, tmp_path, Via.SSH, host="root@kria", with_overlay=False, report=lambda _line: None)
    assert [shlex.split(command[-1])[:2] for command in bench.told() if command[0] == "ssh"] == [["sh", "-c"]] * 3
    assert bench.told()[0][0] == "scp"
    assert f"fpgautil -b /tmp/{build.stem}.bin -f Full" in bench.told()[2][-1]
    assert build.file(".bin").read_bytes() == words()


def test_local(bench: Bench, build: BuildResult) -> None:
    bench.put("sh", 'case "$*" in *"command -v"*) exit 0;; esac')
    flash(Z1, build.folder, Via.LOCAL, report=lambda _line: None)
    commands = [command[1:] for command in bench.told() if command[0] == "sh"]
    assert [command[0] for command in commands] == ["-c"] * 4
    assert commands[1][1] == f"fpgautil -b '{build.file('.bin')}' -o '{build.file('.dtbo')}'"


@pytest.mark.parametrize("via", list(Via))
def test_dry_run_shows_everything_and_does_nothing(bench: Bench, build: BuildResult, via: Via) -> None:
    before, shown = sorted(build.folder.iterdir()), []
    flash(Z1, build.folder, via, host="pynq" if via is Via.SSH else None, dry_run=True, report=shown.append)
    assert bench.told() == []
    assert sorted(build.folder.iterdir()) == before
    names = [line.split(":")[0] for line in shown]
    if via is not Via.JTAG:
        assert {"make the .bin", "compile the overlay", "program with fpgautil", "program with fpga_manager"} < set(
            names
        )
        assert names[-1] == "set clock and port width"


def test_failing_steps_are_named_with_their_remedy(bench: Bench, build: BuildResult) -> None:
    bench.put("openFPGALoader", "echo noise >&2; echo 'unable to open ftdi device' >&2; exit 1")
    message = r"step 'load the bitstream' failed: unable to open ftdi device; install openFPGALoader"
    with pytest.raises(BoardError, match=message):
        flash(Z1, build.folder, Via.JTAG, report=lambda _line: None)
    bench.put("scp", "echo 'Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(BoardError, match=r"step 'copy the files' failed: Permission denied.*`ssh pynq` works"):
        flash(Z1, build.folder, Via.SSH, host="pynq", report=lambda _line: None)
    bench.put("scp", "")
    bench.put("ssh", 'case "$*" in *operating*) exit 1;; esac')
    with pytest.raises(BoardError, match="step 'check the state' failed: exit status 1; the fabric did not start"):
        flash(Z1, build.folder, Via.SSH, host="pynq", report=lambda _line: None)
    (bench.folder / "openFPGALoader").unlink()
    with pytest.raises(BoardError, match="there is no openFPGALoader; install"):
        flash(Z1, build.folder, Via.JTAG, report=lambda _line: None)


def test_a_step_that_hangs_is_ended_with_what_it_started(bench: Bench) -> None:
    bench.put("ssh", "sleep 60 & sleep 60")
    begin = time.monotonic()
    with pytest.raises(BoardError, match=r"step 'wait' failed: it did not end within 0\.3 s; go"):
        Step("wait", ("ssh",), "go", timeout=0.3).run()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a;b", "u@", "", "$(x)"])
def test_hosts_that_are_none_are_refused(bench: Bench, build: BuildResult, host: str) -> None:
    with pytest.raises(BoardError, match="--host"):
        flash(Z1, build.folder, Via.SSH, host=host, report=lambda _line: None)
    assert bench.told() == []


def test_host_belongs_to_ssh(build: BuildResult) -> None:
    with pytest.raises(BoardError, match="needs --host"):
        flash(Z1, build.folder, Via.SSH)
    with pytest.raises(BoardError, match="takes no --host"):
        flash(Z1, build.folder, Via.LOCAL, host="pynq")


def test_builds_that_are_none_are_refused(build: BuildResult, tmp_path: Path) -> None:
    manifest, config = build.folder / MANIFEST, build.folder / CONFIG

    def refused(message: str, path: Path | None = None, text: str = "") -> None:
        before = None if path is None or not path.exists() else path.read_text()
        if path is not None:
            path.write_text(text)
        with pytest.raises(BoardError, match=message) as caught:
            flash(Z1, build.folder, Via.JTAG, report=lambda _line: None)
        assert "\n" not in str(caught.value)
        if path is not None and before is None:
            path.unlink()
        elif path is not None:
            path.write_text(before or "")

    with pytest.raises(BoardError, match="is a build for 'pynq-z1', not for 'kv260'"):
        read_build(build.folder, KV260)
    with pytest.raises(BoardError, match=r"none: is no build folder, it has no vta.json; make one with"):
        read_build(tmp_path / "none", Z1)
    values = json.loads(manifest.read_text())
    refused("are of fingerprint .*, configuration 'int4' has", config, json.dumps(load_preset("int4").to_dict()))
    refused("is no configuration", config, "{}".replace("}", '"x": 1}'))
    refused("no plain file name", manifest, json.dumps(values | {"stem": "../../etc/x"}))
    refused("vta.json: is damaged", manifest, "{")
    refused("vta.json: is damaged", manifest, "[]")
    wide = load_preset("zcu104")
    (build.folder / CONFIG).write_text(json.dumps(wide.to_dict()))
    refused("has 32, 64 bits", manifest, json.dumps(values | {"fingerprint": wide.fingerprint_hex}))
    config.write_text(json.dumps(build.config.to_dict()))
    refused("old.hwh: is not of this build", build.folder / "old.hwh")
    build.file(".bit").write_bytes(bit_file(part="7z010clg400"))
    refused("is for the device '7z010clg400', PYNQ-Z1 has xc7z020clg400-1")
    build.file(".bit").unlink()
    refused(r"\.bit: is missing; run the command in")


def test_command(bench: Bench, build: BuildResult) -> None:
    app = typer.Typer()
    app.command()(board_flash.flash)
    runner = CliRunner()
    shown = runner.invoke(app, ["pynq-z1", str(build.folder), "--dry-run"])
    assert (shown.exit_code, bench.told()) == (0, [])
    assert shown.stdout.startswith("load the bitstream: openFPGALoader -c digilent ")
    done = runner.invoke(app, ["pynq-z1", str(build.folder)])
    assert (done.exit_code, [command[0] for command in bench.told()]) == (0, ["openFPGALoader"])
    assert f"PYNQ-Z1 holds configuration pynq-z1 ({build.config.fingerprint_hex})" in done.output
    wrong = runner.invoke(app, ["pynq-z3", str(build.folder)])
    assert isinstance(wrong.exception, BoardError)


def test_what_a_build_writes_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of openXC7, which leaves the .bin to us; without its Verilog."""
    monkeypatch.setitem(build_module._FILES, "openxc7", lambda _board, _cfg, _stem: {})
    cfg = load_preset("tiny")
    plan = Build(Z1, cfg, "openxc7")
    write_folder(tmp_path, plan)
    with pytest.raises(BoardError, match="is missing; run the command in"):
        read_build(tmp_path, Z1)
    (tmp_path / f"{plan.stem}.bit").write_bytes(bit_file(part=Z1.device))
    finish(tmp_path, plan)
    result = read_build(tmp_path, Z1)
    assert (result.config, result.stem) == (cfg, plan.stem)
    assert result.file(".bin").read_bytes() == result.bitstream().to_bin(Z1.system)


def test_a_binary_in_the_wrong_byte_order_is_refused(bench: Bench, build: BuildResult) -> None:
    build.file(".bin").write_bytes(words())
    with pytest.raises(BoardError, match="byte order"):
        flash(Z1, build.folder, Via.LOCAL, report=lambda _line: None)
    assert bench.told() == []
