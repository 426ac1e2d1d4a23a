"""``vta-board``: runs on the stand-in board, and mistakes that end in one line."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from board_programs import IMAGES, images, program_of
from fake_board import FakeBoard, ServedBuffer, ServedRegisters
from vta_boards import on_board
from vta_boards.board import find_board
from vta_boards.devices import opening
from vta_boards.on_board import INTERRUPTED, TERMINATED, main
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor

BOARD = find_board("pynq-z1")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBoard]:
    """A board with the tiny accelerator, and p.vta and x.npz beside it."""
    program = program_of("tiny")
    fake = FakeBoard(tmp_path / "root", program.config, BOARD)
    program.save(tmp_path / "p.vta")
    np.savez(tmp_path / "x.npz", y=np.zeros(IMAGES, np.int64), **images())
    monkeypatch.setattr(
        opening, "MappedRegisters", lambda path, _size, *, offset: ServedRegisters(fake, path, offset=offset)
    )
    monkeypatch.setattr(opening, "UDmaBuf", lambda name, *, cached, **_root: ServedBuffer(fake, name, cached=cached))
    monkeypatch.chdir(tmp_path)
    yield fake
    fake.close()


def run(board: FakeBoard, *more: str) -> int:
    arguments = ["run", "p.vta", "--input", "x.npz", "--board", "pynq-z1", "--cpu", "numpy", "--poll", *more]
    return main(arguments, root=board.root)


def test_a_run_gives_cycles_time_and_top1(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(board, "--labels", "x.npz", "--check", "--output", "y.npz") == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    program = program_of("tiny")
    expected = Executor(program, cpu=Evaluator.NUMPY).run(images())
    (name,) = program.outputs
    assert np.array_equal(np.load("y.npz")[name], expected[name])
    assert lines["images"] == str(IMAGES)
    assert lines["mismatches"] == "0"
    assert "ms at" in lines["cycles"]
    top = (expected[name].reshape(IMAGES, -1).argmax(1) == 0).mean() * 100
    assert lines["top-1"] == f"{top:.2f} %"


def test_devmem_and_limit(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    board.use_devmem()
    assert run(board, "--device", "devmem", "--limit", "1", "--timeout", "30") == 0
    assert "images      1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--limit", "0"], "must be 1 or more images"),
        (["--labels", "x.npz:z"], "has no array 'z'; it has 'y', 'x'"),
        (["--labels", "x.npz:x"], "give one class for each of 3 images"),
        (["--input", "none.npz"], "none.npz: cannot be read: No such file"),
        (["--input", "p.vta"], "has no array 'x'"),
        (["--buffer", "udmabuf7"], "buffer 'udmabuf7' does not exist"),
        (["--board", "kv260"], "is at 0x43c00000, the board's registers are at 0xa0000000"),
        (["--device", "pynq"], "PYNQ needs the bitstream"),
    ],
)
def test_mistakes_end_in_one_line(
    board: FakeBoard, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert run(board, *more) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("vta: error: ")
    assert error.count("\n") == 1


def test_a_killed_run_resets_the_accelerator(board: FakeBoard) -> None:
    board.hang = True
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as stopped:
        run(board)
    assert stopped.value.code == TERMINATED
    assert board.resets == 2


def test_ctrl_c_resets_the_accelerator_too(board: FakeBoard) -> None:
    board.hang = True
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert run(board) == INTERRUPTED
    assert board.resets == 2


def test_flash_on_the_board_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(on_board, "flash", lambda *arguments, **options: told.append((arguments, options)))
    assert main(["flash", "pynq-z1", str(tmp_path), "--dry-run"]) == 0
    assert told == [((BOARD, tmp_path, on_board.Via.LOCAL), {"with_overlay": True, "dry_run": True})]
