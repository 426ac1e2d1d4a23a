"""Builds the Verilated accelerator with its memory model into a shared library, once, and keeps it in the cache.

A library is kept under a hash of the Verilog, the harness, the tools with their flags, and the processor.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

from .build_cache import Progress, cache_directory, cached_verilog, content_key, new_entry, silent
from .clock_gates import gated
from .verilator_tool import Compiler, Verilator, find_compiler, find_verilator, run_tool

TOP = "vta_top"
LIBRARY = "libvta_rtl.so"
VERILATOR_FLAGS = (
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",  # memories without initial contents start as zero bits
    "--no-assert",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--output-split",
    "20000",
    "--output-split-cfuncs",
    "5000",
)
COMPILE_FLAGS = ("-std=c++17", "-march=native", "-fPIC", "-fno-strict-aliasing", "-w")
OPTIMIZE_VARIABLE = "VTA_RTL_OPTIMIZE"
"""Environment variable with the C++ compiler's -O level, 3 if unset. Level 1 builds in two thirds of the time, for
short runs of many configurations; results and cycles are the same."""
OPTIMIZE_LEVELS = ("0", "1", "2", "3")
RUNTIME_SOURCES = ("verilated.cpp", "verilated_threads.cpp")
COVERAGE_FLAGS = ("--coverage-line", "--coverage-toggle")
TOOL_SECONDS = 900


@dataclass(frozen=True)
class _Tools:
    verilator: Verilator
    compiler: Compiler
    progress: Progress
    coverage: bool = False

    @property
    def verilator_flags(self) -> tuple[str, ...]:
        return (*VERILATOR_FLAGS, *COVERAGE_FLAGS) if self.coverage else VERILATOR_FLAGS

    @property
    def runtime_sources(self) -> tuple[str, ...]:
        return (*RUNTIME_SOURCES, "verilated_cov.cpp") if self.coverage else RUNTIME_SOURCES

    @property
    def identity(self) -> list[str]:
        """All of the tools that a library depends on; -march=native makes the processor one of them."""
        words = [*self.compiler.command, self.compiler.version, *self.verilator_flags, *self.flags]
        return [self.verilator.version, " ".join(words), _processor()]

    @property
    def flags(self) -> tuple[str, ...]:
        # zig checks for undefined behaviour unless told otherwise
        optimize = ("-DVM_COVERAGE=1", "-O1") if self.coverage else (f"-O{_optimize_level()}",)
        flags = (*COMPILE_FLAGS, *optimize)
        return (*flags, "-fno-sanitize=all") if self.compiler.is_zig else flags

    @property
    def stage(self) -> str:
        return f"C++ ({'ziglang wheel' if self.compiler.is_zig else Path(self.compiler.command[0]).name})"


def build(
    cfg: VTAConfig,
    progress: Progress | None = None,
    *,
    verilog: str | None = None,
    coverage: bool = False,
    trace: bool = False,
) -> Path:
    """The shared library that simulates the accelerator of ``cfg``; built when it is not in the cache.

    Args:
        progress: told about the stages of a build; not called when the cache has the library.
        verilog: text of another top ``vta_top`` with the same ports; default is the accelerator's own.
        coverage: counts executed lines and toggled bits, see :mod:`vta_sim.coverage`; slower.
        trace: ``verilog`` has the port ``observed``, whose changes are recorded, see :mod:`vta_sim.trace_device`.

    Raises DeviceError when a tool is missing or fails, or the cache cannot be written.
    """
    tools = _Tools(find_verilator(), find_compiler(), progress or silent, coverage)
    text = gated(cached_verilog(cfg, progress) if verilog is None else verilog)
    defines = _defines(cfg, trace)
    name = f"rtl-{content_key(text, *defines, *_harness_texts(), *tools.identity)}"
    library = cache_directory() / name / LIBRARY
    if library.is_file():
        return library
    runtime = _runtime_objects(tools)
    with new_entry(name) as folder:
        if folder is not None:
            _build_library(folder, text, defines, tools, runtime)
    return library


def _defines(cfg: VTAConfig, trace: bool) -> tuple[str, ...]:
    """What the harness must know of the top's ports."""
    return (f"-DVTA_AXI_BYTES={cfg.axi_data_width // 8}", *(["-DVTA_TRACE=1"] if trace else []))


def _optimize_level() -> str:
    level = os.environ.get(OPTIMIZE_VARIABLE, "").strip() or OPTIMIZE_LEVELS[-1]
    if level not in OPTIMIZE_LEVELS:
        raise DeviceError(f"{OPTIMIZE_VARIABLE} = {level!r}: must be one of {', '.join(OPTIMIZE_LEVELS)}, or unset")
    return level


def _harness() -> list[Path]:
    return sorted((Path(__file__).parent / "cpp").glob("*.[ch]*"))


def _harness_texts() -> list[str]:
    return [path.name + path.read_text(encoding="utf-8") for path in _harness()]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return platform.machine() + line
    return platform.machine() + platform.processor()


def _runtime_objects(tools: _Tools) -> list[Path]:
    """Verilator's own runtime, compiled once for all configurations."""
    name = f"runtime-{content_key(*tools.identity)}"
    with new_entry(name) as folder:
        if folder is not None:
            include = tools.verilator.include
            _compile([include / source for source in tools.runtime_sources], folder, [include], tools)
    return sorted((cache_directory() / name).glob("*.o"))


def _build_library(folder: Path, text: str, defines: Sequence[str], tools: _Tools, runtime: list[Path]) -> None:
    """Fill ``folder`` with the library and the Verilog that it is made from."""
    (folder / f"{TOP}.v").write_text(text, encoding="utf-8")
    work = folder.parent
    tools.progress("Verilator", 0, 1)
    names = ["--top-module", TOP, "--prefix", f"V{TOP}", "--Mdir", "cpp"]
    run_tool(
        [tools.verilator.binary, *tools.verilator_flags, *names, folder / f"{TOP}.v"],
        "Verilator",
        timeout=TOOL_SECONDS,
        cwd=work,
        env=tools.verilator.environment,
    )
    tools.progress("Verilator", 1, 1)
    harness = Path(__file__).parent / "cpp"
    sources = [*sorted((work / "cpp").glob("*.cpp")), *harness.glob("*.cpp")]
    include = [work / "cpp", harness, tools.verilator.include, tools.verilator.include / "vltstd"]
    objects = _compile(sources, work, include, tools, "-include", "sign_extend.h", *defines)
    link: list[str | Path] = [*tools.compiler.command, "-shared", "-pthread", *objects, *runtime]
    run_tool([*link, "-o", folder / LIBRARY], "C++ linker", timeout=TOOL_SECONDS)


def _compile(sources: Sequence[Path], target: Path, include: Sequence[Path], tools: _Tools, *flags: str) -> list[Path]:
    """Compile each source to an object in ``target``, as many at a time as there are cores."""
    # The longest units first, so that the cores end together.
    ordered = sorted(sources, key=lambda path: -path.stat().st_size)
    command = [*tools.compiler.command, *tools.flags, *flags, *(f"-I{path}" for path in include), "-c"]
    objects = [target / f"{path.stem}.o" for path in ordered]
    tools.progress(tools.stage, 0, len(ordered))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        jobs = [
            pool.submit(run_tool, [*command, source, "-o", result], "C++ compiler", timeout=TOOL_SECONDS)
            for source, result in zip(ordered, objects, strict=True)
        ]
        try:
            for count, job in enumerate(as_completed(jobs), 1):
                job.result()
                tools.progress(tools.stage, count, len(ordered))
        finally:
            pool.shutdown(cancel_futures=True)
    return objects
