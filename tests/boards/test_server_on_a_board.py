"""``vta-board serve`` over the stand-in board, with the standard library, numpy, the contract and the runtime alone."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from board_bus import share
from board_programs import images, program_of
from fake_board import FakeBoard
from serve_bench import ON_BOARD, TOKEN, expected, file_of, server_process, wait_for
from vta_arch.errors import DeviceError
from vta_boards.board import find_board
from vta_boards.on_board import main
from vta_runtime.remote import Remote

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "boards/vta_boards/server"
ABSENT = ("onnx", "onnxruntime", "typer", "rich", "click", "amaranth", "networkx", "matplotlib", "vta_app", "vta_sw")
UNSAFE = ("pickle", "marshal", "shelve", "eval", "exec")


def test_imports() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "vta_arch", "vta_runtime"}
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name} reaches out of its package"
                names = [node.module or ""] if node.level == 0 else []
            foreign = {name.split(".")[0] for name in names} - allowed
            assert not foreign, f"{file.name} imports {foreign}"


def test_nothing_can_be_executed() -> None:
    """Neither server nor client unpickles or evaluates anything."""
    runtime = [ROOT / "sw/vta_runtime" / name for name in ("array_files.py", "remote.py", "http_client.py")]
    for file in [*FOLDER.glob("*.py"), *runtime]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "module", None)
            assert found not in UNSAFE, f"{file.name}: {found}"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[FakeBoard]:
    """A board that other processes reach, with config.json beside it."""
    cfg = program_of("tiny").config
    fake = FakeBoard(tmp_path / "root", cfg, find_board("pynq-z1"))
    (tmp_path / "config.json").write_text(json.dumps(cfg.to_dict()))
    with share(fake):
        yield fake
    fake.close()


@contextlib.contextmanager
def serving(board: FakeBoard, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``vta-board serve`` on the board, where what a board does not have cannot be imported."""
    lines = ["import sys", f"for name in {ABSENT}:", "    sys.modules[name] = None"]
    lines += ["from pathlib import Path", "from board_bus import install", f"install(Path({str(board.root)!r}))"]
    folder = board.root.parent
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    path = [folder, Path(__file__).parent, *(ROOT / part for part in ("arch", "sw", "boards", "hw", "sim"))]
    arguments = ["--board", "pynq-z1", "--config", folder / "config.json", *more]
    with server_process(ON_BOARD, board.root, *arguments, PYTHONPATH=":".join(map(str, path))) as server:
        yield server


def right(outputs: Mapping[str, np.ndarray]) -> bool:
    wanted = expected(program_of("tiny"), images(), "numpy")
    return all((outputs[name] == wanted[name]).all() for name in wanted)


@pytest.mark.parametrize("more", [["--port", "0"], ["--port", "0", "--device", "devmem"], ["--port", "0", "--poll"]])
def test_a_run_over_http_is_that_of_the_board(board: FakeBoard, more: list[str]) -> None:
    """CPU subgraphs run in numpy, outputs are those of numpy here, and caches are maintained."""
    if "devmem" in more:
        board.use_devmem()
    made = program_of("tiny")
    with serving(board, *more) as (server, url):
        remote = Remote(url, TOKEN)
        outputs, report = remote.run(made, file_of(made), images(), check=True)
        server.terminate()
        assert server.wait(20) == 0
    assert remote.status["backend"] == f"pynq-z1 over {'devmem' if 'devmem' in more else 'uio'}"
    assert right(outputs)
    assert report.mismatches == 0
    assert report.cycles
    assert {kind for kind, _offset, _size in board.events} == {"sync_for_device", "START", "sync_for_cpu"}


def test_a_run_that_is_ended_leaves_the_accelerator_in_order(board: FakeBoard) -> None:
    made, board.hang = program_of("tiny"), True
    with serving(board, "--port", "0", "--run-limit", "1") as (_, url):
        remote, resets = Remote(url, TOKEN), board.resets
        with pytest.raises(DeviceError, match="did not end within 1 s"):
            remote.run(made, file_of(made), images())
        assert board.resets == resets + 1
        board.hang = False
        assert right(remote.run(made, file_of(made), images())[0])


def test_a_server_that_is_killed_in_a_run_leaves_the_accelerator_in_order(board: FakeBoard) -> None:
    """The client asks the next server again, and gets what it would have got."""
    made, found, board.hang = program_of("tiny"), [], True
    with serving(board, "--port", "0") as (server, url):
        remote, resets = Remote(url, TOKEN), board.resets
        client = threading.Thread(target=lambda: found.append(remote.run(made, file_of(made), images())[0]))
        client.start()
        wait_for(lambda: ("START", 0, 0) in board.events, "nothing runs")
        server.kill()
        wait_for(lambda: board.resets == resets + 1, "no reset")
        board.hang = False
    wait_for(lambda: is_free(board), "the buffer is still held")
    with serving(board, "--port", url.rpartition(":")[2]):
        client.join(60)
    assert right(found[0])


def is_free(board: FakeBoard) -> bool:
    with (board.root / "dev/udmabuf0").open() as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config", "{int4}"], "configuration fingerprint.*'int4'"),
        (["--config", "none.json"], "'none.json' is neither a preset nor a file"),
        (["--board", "kv260"], "is at 0x43c00000, the board's registers are at 0xa0000000"),
        (["--device", "pynq"], "PYNQ needs the bitstream"),
        (["--run-limit", "0"], "limit run_seconds = 0.0: must be more than 0"),
        (["--port", "70000"], "cannot listen on 127.0.0.1:70000: .*port must be 0-65535"),
        (["--host", "a..b"], "cannot listen on a..b:0: "),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key are given together"),
    ],
)
def test_mistakes_end_in_one_line(
    board: FakeBoard, more: list[str], message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "int4.json").write_text(json.dumps(program_of("int4").config.to_dict()))
    arguments = ["serve", "--board", "pynq-z1", "--config", str(tmp_path / "config.json"), "--port", "0"]
    assert main([*arguments, *(text.format(int4=tmp_path / "int4.json") for text in more)], root=board.root) == 1
    error = capfd.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("vta: error: ")
    assert error.count("\n") == 1
