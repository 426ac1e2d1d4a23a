"""The server as it runs on a board: the standard library, numpy, the contract and the runtime."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from app_networks import images
from serve_bench import TOKEN, board_process, expected, program
from vta_arch.errors import DeviceError
from vta_boards.server.registry import find, register
from vta_runtime.remote import Remote
from vta_sim.functional import FunctionalDevice

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


def test_command_of_a_board(tmp_path: Path) -> None:
    """Without what a board does not have, CPU subgraphs run in numpy, and outputs are those of numpy here."""
    lines = [f"for name in {ABSENT}:", "    sys.modules[name] = None"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(["import sys", *lines]))
    path = [tmp_path, *(ROOT / part for part in ("arch", "sw", "boards", "hw", "sim"))]
    made, file = program()
    with board_process(PYTHONPATH=":".join(map(str, path))) as (server, url):
        outputs, _ = Remote(url, TOKEN).run(made, file, {"x": images(3)})
        server.terminate()
        assert server.wait(20) == 0
    assert (outputs["y"] == expected(made, {"x": images(3)}, "numpy")["y"]).all()


def test_registry() -> None:
    register("simulated", FunctionalDevice)
    assert find("simulated") is FunctionalDevice
    with pytest.raises(DeviceError, match=r"device 'fpga' is unknown; known are .*simulated"):
        find("fpga")
