"""What the README and the pages on quantization and frameworks show runs as it stands there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from vta_app import reference
from vta_arch.c_header import HEADER_NAME, registers_header
from vta_sw.quantize import QConfig

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("arch", "hw", "sw", "sim", "boards", "app")
README = (ROOT / "README.md").read_text(encoding="utf-8")


QUANTIZATION, FRAMEWORKS = "docs/quantization.md", "docs/from-frameworks.md"


def blocks(page: str, language: str) -> str:
    """A page's code blocks of a language, joined."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))


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


@pytest.mark.parametrize("page", ["README.md", QUANTIZATION])
def test_commands_and_python(page: str, folder: Path) -> None:
    (folder / "build" / "overrides.toml").write_text(blocks(page, "toml"))
    for line in filter(None, blocks(page, "sh").splitlines()):
        words = line.split()
        module = ["-m", "vta_app.main"] if words[0] == "vta" else []
        _run([sys.executable, *module, *words[1:]], folder)
    _run([sys.executable, "-c", blocks(page, "python")], folder)


def test_onnxruntime_quantizer(folder: Path) -> None:
    """Its file, then the commands of the page."""
    _run([sys.executable, "examples/digits_data.py", "build/digits"], folder)
    _run([sys.executable, "-c", blocks(FRAMEWORKS, "python")], folder)
    for line in blocks(FRAMEWORKS, "sh").splitlines():
        _run([sys.executable, "-m", "vta_app.main", *line.split()[1:]], folder)


@pytest.mark.parametrize(("framework", "compiled"), [("torch", ""), ("brevitas", "trained")])
def test_framework(framework: str, compiled: str, folder: Path) -> None:
    """A framework's block of the page, where it is installed; what it exports compiles if it is quantized."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    _run([sys.executable, "-c", blocks(FRAMEWORKS, f"python {framework}")], folder)
    if compiled:
        ends = [f"build/{compiled}.onnx", "--config", "int4", "-o", f"build/{compiled}.vta"]
        _run([sys.executable, "-m", "vta_app.main", "compile", *ends], folder)


def test_every_command_is_described() -> None:
    commands = (
        "config list",
        "verilog",
        "model",
        "quantize",
        "sensitivity",
        "bench",
        "compile",
        "run",
        "serve",
        "exec",
        "disasm",
    )
    for name in [*commands, "sensitivity", "bench"]:
        assert f"| `vta {name}`" in README


def test_every_choice_of_quantization_is_described() -> None:
    page = (ROOT / QUANTIZATION).read_text(encoding="utf-8")
    assert [item.name for item in fields(QConfig) if f"`{item.name}`" not in page] == []


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_reference_pages_are_current() -> None:
    assert (ROOT / "docs/isa.md").read_text(encoding="utf-8") == reference.isa_page()
    assert (ROOT / "docs/registers.md").read_text(encoding="utf-8") == reference.registers_page()
    assert (ROOT / "docs" / HEADER_NAME).read_text(encoding="utf-8") == registers_header()
