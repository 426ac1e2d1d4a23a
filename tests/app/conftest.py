"""Runs the ``vta`` command and checks how it refuses mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from vta_app.main import main

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("arch", "hw", "sw", "sim", "boards", "app")


@dataclass(frozen=True)
class Outcome:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


Vta = Callable[..., Outcome]


def environment() -> dict[str, str]:
    """The environment of a sub-process that imports this tree, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in PARTS), "COLUMNS": "120"}


@pytest.fixture
def vta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vta:
    """Calls ``vta`` with arguments, in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["vta", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as finished:
            main()
        captured = capsys.readouterr()
        return Outcome(int(finished.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def vta_process(tmp_path: Path) -> Vta:
    """Calls ``vta`` with arguments in a process of its own; ``stdout`` is a file that its output goes to."""

    def call(*arguments: object, stdout: Path) -> Outcome:
        command = [sys.executable, "-m", "vta_app.main", *map(str, arguments)]
        with stdout.open("w") as out:
            done = subprocess.run(
                command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(), timeout=120
            )
        return Outcome(done.returncode, "", done.stderr)

    return call


@pytest.fixture
def refused(vta: Vta, tmp_path: Path) -> Callable[..., str]:
    """Calls ``vta`` with a mistake: exit status 1, one line on stderr, nothing written. Returns the line."""

    def call(*arguments: object) -> str:
        before = _contents(tmp_path)
        outcome = vta(*arguments)
        assert outcome.status == 1, outcome
        assert "Traceback" not in outcome.err
        assert outcome.err.startswith("vta: error: ")
        assert outcome.err.count("\n") == 1
        assert _contents(tmp_path) == before
        return outcome.err

    return call


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
