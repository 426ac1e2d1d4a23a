"""What the README and docs/from-frameworks.md show runs as it stands there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from vta_app import reference
from vta_arch.c_header import HEADER_NAME, registers_header

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("arch", "hw", "sw", "sim", "boards", "app")
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRAMEWORKS = (ROOT / "docs/from-frameworks.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> str:
    """A page's code blocks of a language, joined."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the examples and an empty build folder, as in a fresh tree."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    return tmp_path


def _run(command: list[str], folder: Path) -> None:
    paths = os.pathsep.join(str(ROOT / part) for part in PARTS)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def test_commands_and_python(folder: Path) -> None:
    for line in blocks("sh").splitlines():
        words = line.split()
        module = ["-m", "vta_app.main"] if words[0] == "vta" else []
        _run([sys.executable, *module, *words[1:]], folder)
    _run([sys.executable, "-c", blocks("python")], folder)


def test_onnxruntime_quantizer(folder: Path) -> None:
    """Its file, then the commands of the page."""
    _run([sys.executable, "examples/digits_data.py", "build/digits"], folder)
    _run([sys.executable, "-c", blocks("python", FRAMEWORKS)], folder)
    for line in blocks("sh", FRAMEWORKS).splitlines():
        _run([sys.executable, "-m", "vta_app.main", *line.split()[1:]], folder)


@pytest.mark.parametrize(("framework", "compiled"), [("torch", ""), ("brevitas", "trained")])
def test_framework(framework: str, compiled: str, folder: Path) -> None:
    """A framework's block of the page, where it is installed; what it exports compiles if it is quantized."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    _run([sys.executable, "-c", blocks(f"python {framework}", FRAMEWORKS)], folder)
    if compiled:
        ends = [f"build/{compiled}.onnx", "--config", "int4", "-o", f"build/{compiled}.vta"]
        _run([sys.executable, "-m", "vta_app.main", "compile", *ends], folder)


def test_every_command_is_described() -> None:
    for name in ("config list", "verilog", "model", "quantize", "compile", "run", "exec", "disasm"):
        assert f"| `vta {name}`" in README


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_reference_pages_are_current() -> None:
    assert (ROOT / "docs/isa.md").read_text(encoding="utf-8") == reference.isa_page()
    assert (ROOT / "docs/registers.md").read_text(encoding="utf-8") == reference.registers_page()
    assert (ROOT / "docs" / HEADER_NAME).read_text(encoding="utf-8") == registers_header()
