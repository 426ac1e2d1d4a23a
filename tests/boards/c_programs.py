"""Exported programs: compiled for this machine and run on the simulated accelerator."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_sim.memory_model import MemoryModel
from vta_sim.rtl_build import build
from vta_sim.rtl_library import Parameters, memory_parameters

HERE = Path(__file__).parent / "bare_metal"
SHIM = HERE / "shim.c"
STRICT = "-Wall -Wextra -Werror -pedantic -Wconversion -Wno-sign-conversion"
ADDRESSES = "-DVTA_BASE_ADDRESS=0x43c00000u -DVTA_ARENA_ADDRESS=0x7f000000u"


def make(folder: Path, *, flags: str = "-O2", main: Path | None = None) -> Path:
    """The example, or another ``main``, of an exported folder as an executable for this machine, by its Makefile."""
    if main is not None:
        (folder / "main.c").write_text(main.read_text(encoding="utf-8"), encoding="utf-8")
    defines = f"{ADDRESSES} -DVTA_PRINTED=100000u -I{folder}"
    variables = [f"SHIM={SHIM}", f"WARNINGS={STRICT}", f"DEFINES={defines}", f"CFLAGS={flags}", "LDLIBS=-ldl"]
    done = subprocess.run(
        ["make", "-s", "-C", folder, "main", *variables], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "main"


def run(executable: Path, cfg: VTAConfig, memory: MemoryModel | None = None) -> subprocess.CompletedProcess[str]:
    """Run an executable on the RTL of a configuration."""
    parameters = memory_parameters(memory or MemoryModel(), 0)
    numbers = ",".join(str(getattr(parameters, name)) for name, *_ in Parameters._fields_)
    environment = {**os.environ, "VTA_SHIM_LIBRARY": str(build(cfg)), "VTA_SHIM_PARAMETERS": numbers}
    return subprocess.run([executable], env=environment, capture_output=True, text=True, timeout=120, check=False)


def printed(text: str, name: str, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """An output's values, [images, elements], as the example printed them."""
    lines = [line for line in text.splitlines() if line.startswith(f"  {name}: ")]
    return np.array([[float(word) for word in line.split("values ")[1].split()] for line in lines]).astype(dtype)
