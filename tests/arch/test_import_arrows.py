"""Who may import whom: the arrows between the packages, read from every import in the tree."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED: dict[str, set[str]] = {
    "vta_arch": set(),
    "vta_hw": {"vta_arch"},
    "vta_sw": {"vta_arch"},
    "vta_runtime": {"vta_arch"},
    "vta_sim": {"vta_arch", "vta_hw", "vta_runtime"},
    "vta_boards": {"vta_arch", "vta_hw", "vta_runtime"},
    "vta_app": {"vta_arch", "vta_hw", "vta_sw", "vta_runtime", "vta_sim", "vta_boards"},
}
THIRD_PARTY: dict[str, set[str]] = {"vta_arch": {"numpy"}, "vta_runtime": {"numpy", "onnxruntime", "onnx"}}
"""Packages that may use only these of other people's."""


def imports(file: Path) -> set[str]:
    """Top-level names that a file imports, relative imports left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def sources(package: str) -> list[Path]:
    return [file for file in ROOT.glob(f"*/{package}/**/*.py") if ".venv" not in file.parts]


@pytest.mark.parametrize("package", list(ALLOWED))
def test_arrows(package: str) -> None:
    files = sources(package)
    assert files, f"no sources of {package}"
    for file in files:
        wrong = (imports(file) & set(ALLOWED)) - ALLOWED[package] - {package}
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("package", list(THIRD_PARTY))
def test_what_a_board_needs_is_little(package: str) -> None:
    for file in sources(package):
        foreign = imports(file) - set(sys.stdlib_module_names) - set(ALLOWED)
        assert foreign <= THIRD_PARTY[package], file.relative_to(ROOT)
