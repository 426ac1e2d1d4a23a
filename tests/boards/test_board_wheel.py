"""The board's wheel: what is in it, that it needs numpy only, and that it runs a program by itself."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from board_programs import images, program_of
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {"numpy", "onnxruntime", "pynq"}
"""numpy, and what is taken where it is there."""
SINCE_3_11 = {"StrEnum", "ReprEnum", "Self", "Never", "LiteralString", "assert_never", "ExceptionGroup", "UTC"}
RUN = """
import sys
import numpy as np
from vta_arch.program import Program
from vta_runtime.evaluators import choose_evaluator
from vta_runtime.executor import Executor
evaluator, why = choose_evaluator()
print(evaluator, why)
x = np.load(sys.argv[2])
np.savez(sys.argv[3], **Executor(Program.load(sys.argv[1]), cpu=evaluator).run({"x": x["x"]}))
assert not {"onnx", "onnxruntime", "amaranth"} & set(sys.modules)
"""


def command(*arguments: object) -> str:
    done = subprocess.run([str(item) for item in arguments], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT / "boards" / "runtime")
    (found,) = folder.glob("*.whl")
    return found


def sources(wheel: Path) -> Iterator[tuple[str, ast.Module]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                yield name, ast.parse(archive.read(name), name, feature_version=(3, 10))


def test_contents_need_numpy_and_python_3_10_only(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    packages = {"vta_arch", "vta_runtime", "vta_boards"}
    names = dict(sources(wheel))
    assert {name.split("/")[0] for name in names} == packages
    for folder in ("devices", "server"):
        for file in (ROOT / "boards" / "vta_boards" / folder).glob("*.py"):
            assert f"vta_boards/{folder}/{file.name}" in names
    allowed = set(sys.stdlib_module_names) | FOREIGN | packages
    for name, tree in names.items():
        assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & SINCE_3_11, name
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in allowed, name
                assert not {alias.name for alias in node.names} & SINCE_3_11, name
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, name
        top = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
        assert not {"tomllib", "onnxruntime", "pynq"} & set(top) or name == "vta_runtime/cpu.py", name


def test_relative_imports_stay_inside(wheel: Path) -> None:
    names = {name for name, _tree in sources(wheel)}
    for name, tree in sources(wheel):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                folder = name.split("/")[: -node.level]
                target = "/".join([*folder, *node.module.split(".")])
                assert f"{target}.py" in names or f"{target}/__init__.py" in names, f"{name} imports {target}"


def test_a_program_runs_where_only_numpy_is(wheel: Path, tmp_path: Path) -> None:
    command(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    command(*pip, wheel, f"numpy=={np.__version__}")
    program = program_of("int4")
    program.save(tmp_path / "p.vta")
    np.savez(tmp_path / "x.npz", **images())
    said = command(python, "-I", "-c", RUN, tmp_path / "p.vta", tmp_path / "x.npz", tmp_path / "y.npz")
    assert said.startswith("numpy onnxruntime cannot be imported")
    expected = Executor(program, cpu=Evaluator.NUMPY).run(images())
    found = np.load(tmp_path / "y.npz")
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert "usage: vta-board" in command(tmp_path / "venv" / "bin" / "vta-board", "--help")
    assert "usage: vta-board" in command(python, "-I", "-m", "vta_boards", "--help")
