"""The accelerator in a cocotb simulation, with cocotbext-axi's models around it, as a device.

Thousands of times slower than :mod:`vta_sim.rtl`; its worth is that somebody else wrote the AXI models.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_runtime.device import REGION_ALIGNMENT, RegionAllocator, RunResult, name_blamed
from vta_runtime.driver import check_launch

from .build_cache import Progress, cache_directory, cached_verilog, content_key, new_entry, silent
from .cocotb_job import (
    BUILD_ARGUMENTS,
    JOB_FILE,
    MEMORY_IN,
    MEMORY_OUT,
    PAGE_BYTES,
    RESULT_FILE,
    TOP,
    pack_pages,
    unpack_pages,
)
from .sparse_memory import SparseMemory
from .verilator_tool import Compiler, find_compiler, find_verilator, require_programs, run_tool

BUILD_SECONDS = 900.0
MAKE_SETTINGS = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
"""Python takes most of a run's time, the C++ compiler most of a build's: it is not asked to optimise."""
DEFAULT_MAX_CYCLES = 2_000_000
LAUNCH_BENCH = "vta_sim.cocotb_bench"


class CocotbDevice:
    """A :class:`vta_runtime.device.Device` whose every launch is a simulation of its own.

    Memory is carried from launch to launch; scratchpads are NOT, a launch starts with zero scratchpads: a run
    must be one launch. Latency and bandwidth of the memory are those of cocotbext-axi's ``AxiRam``.

    Args:
        cfg: the configuration whose Verilog is simulated; built on first use, then cached.
        backpressure: chance that an AXI channel pauses in a cycle, 0 to 0.95.
        seed: seed of the pauses.
        error_range: first byte and the byte beyond the last of a range that answers SLVERR.
        max_cycles: cycles that one launch may take.
        timeout: seconds that one launch may take.
        progress: told about the stages of a build.

    Raises DeviceError when the simulator cannot be built.
    """

    def __init__(
        self,
        cfg: VTAConfig,
        *,
        backpressure: float = 0.0,
        seed: int = 0,
        error_range: tuple[int, int] | None = None,
        max_cycles: int = DEFAULT_MAX_CYCLES,
        timeout: float = 1800.0,
        progress: Progress | None = None,
    ) -> None:
        if not 0 <= backpressure <= 0.95:
            raise DeviceError(f"backpressure = {backpressure}: must be from 0 to 0.95")
        if max_cycles < 1:
            raise DeviceError(f"max_cycles = {max_cycles}: must be 1 or more")
        self.config = cfg
        self.max_cycles = max_cycles
        self.window: tuple[int, int] | None = None
        self._options = {"backpressure": backpressure, "seed": seed, "error_range": error_range}
        self._timeout = timeout
        self._memory = SparseMemory(cfg.axi_addr_width)
        self._pages: set[int] = set()
        self._regions = RegionAllocator(REGION_ALIGNMENT, 1 << cfg.axi_addr_width)
        self._built = _build(cfg, progress)

    def write(self, address: int, data: NDArray[np.uint8] | bytes) -> None:
        """Copy bytes to memory. Raises DeviceError outside the address space."""
        array = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        if array.dtype != np.uint8:
            raise DeviceError(f"write: data of type {array.dtype}; a device takes bytes (uint8)")
        self._check_range("write", address, array.size)
        self._memory.write(address, array.reshape(-1))
        self._pages.update(range(address // PAGE_BYTES, -(-(address + array.size) // PAGE_BYTES)))

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes of memory, uint8 of shape [size]. Raises DeviceError outside the address space."""
        self._check_range("read", address, size)
        return self._memory.read(address, size).copy()

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Simulate one run from reset to its end; see :meth:`vta_runtime.device.Device.launch`.

        Raises DeviceError also when it takes more than ``max_cycles`` or ``timeout``, or the AXI models object.
        """
        check_launch(self.config, insn_address, insn_count, bases)
        job = {
            "config": self.config.to_dict(),
            "insn_address": insn_address,
            "insn_count": insn_count,
            "bases": {int(memory): base for memory, base in bases.items()},
            "max_cycles": self.max_cycles,
            "window": self.window,
            **self._options,
        }
        with tempfile.TemporaryDirectory(prefix="vta-cocotb-") as name:
            folder = Path(name)
            (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")
            pack_pages(folder / MEMORY_IN, {n * PAGE_BYTES: self._page(n) for n in self._pages})
            _process(["test", folder, self._built, LAUNCH_BENCH], "cocotb simulation", self._timeout)
            result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
            if "error" in result:
                raise DeviceError(result["error"])
            for address, page in unpack_pages(folder / MEMORY_OUT):
                self.write(address, page)
        return name_blamed(self, insn_address, RunResult(**result))

    def allocate(self, size: int) -> int:
        """Address of a fresh region, 4 KiB aligned. Raises DeviceError when the address space is full."""
        return self._regions.allocate(size)

    def close(self) -> None:
        """Forget the memory."""
        self._memory = SparseMemory(self.config.axi_addr_width)
        self._pages.clear()

    def _page(self, number: int) -> NDArray[np.uint8]:
        return self._memory.read(number * PAGE_BYTES, PAGE_BYTES)

    def _check_range(self, what: str, address: int, size: int) -> None:
        end = 1 << self.config.axi_addr_width
        if address < 0 or size < 0 or address + size > end:
            raise DeviceError(
                f"{what}: {size} bytes at {address:#x} are outside the {end:#x} bytes of the address space"
            )


def run_benches(cfg: VTAConfig, module: Path, *, timeout: float = 600.0) -> None:
    """Run the cocotb tests of a Python file on the simulator of ``cfg``. Raises ToolError when one fails.

    Args:
        module: the file; ``vta_sim.cocotb_bench`` has what benches need.
        timeout: seconds for all of them.
    """
    built = _build(cfg, None)
    with tempfile.TemporaryDirectory(prefix="vta-cocotb-") as name:
        arguments: list[str | Path] = ["test", Path(name), built, module.stem]
        _process(arguments, f"cocotb benches of {module.name}", timeout, search=module.parent)


def _process(
    arguments: list[str | Path],
    what: str,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    search: Path | None = None,
) -> None:
    """Run ``vta_sim.cocotb_job`` in a process of its own, which also imports from the folder ``search``.

    Raises ToolError when it fails or takes too long.
    """
    verilator = find_verilator()
    path = os.pathsep.join(entry for entry in [*sys.path, str(search or "")] if entry)
    run_tool(
        [sys.executable, "-m", "vta_sim.cocotb_job", *arguments],
        what,
        timeout=timeout,
        env={**verilator.environment, "PYTHONPATH": path, **(environment or {})},
    )


def _build(cfg: VTAConfig, progress: Progress | None) -> Path:
    """The directory with the simulator of ``cfg``, from the cache if it has it."""
    import cocotb

    verilator, compiler = find_verilator(), find_compiler()
    require_programs({"perl": "perl", "make": "make"})
    text = cached_verilog(cfg, progress)
    name = "cocotb-" + content_key(
        text,
        verilator.version,
        compiler.version,
        " ".join(BUILD_ARGUMENTS),
        MAKE_SETTINGS,
        cocotb.__version__,
        sys.prefix,
    )
    with new_entry(name) as folder:
        if folder is not None:
            (progress or silent)("cocotb simulator", 0, 1)
            (folder / f"{TOP}.v").write_text(text, encoding="utf-8")
            with _make_flags(compiler) as flags:
                _process(["build", folder], "cocotb build", BUILD_SECONDS, flags)
            for path in folder.iterdir():
                if path.name not in (TOP, f"{TOP}.v"):
                    path.unlink()
            (progress or silent)("cocotb simulator", 1, 1)
    return cache_directory() / name


@contextlib.contextmanager
def _make_flags(compiler: Compiler) -> Iterator[dict[str, str]]:
    """Environment that makes Verilator's makefile use ``compiler``: one word, so a script stands for several."""
    with tempfile.TemporaryDirectory(prefix="vta-cxx-") as name:
        script = Path(name) / "c++"
        words = " ".join(f"'{word}'" for word in compiler.command)
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        yield {"MAKEFLAGS": f"CXX={script} LINK={script} {MAKE_SETTINGS}"}
