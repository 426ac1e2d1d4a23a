"""Quantize, compile and run a network, and what that showed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_app import Program, RunReport, VTAConfig, compile, load_config, quantize, run
from vta_app.output import ProgressCallback
from vta_arch.errors import DeviceError
from vta_arch.program import CpuStep
from vta_sim.memory_model import MemoryModel
from vta_sim.rtl import RtlDevice
from vta_sw.frontend import Work, work_of
from vta_sw.models import MODELS

from .cases import BUSES, Case, ideal_cycles

BORDER = ("QuantizeLinear", "DequantizeLinear")
"""Operators of the CPU that only change a tensor's type."""


@dataclass(frozen=True)
class Built:
    """A network, compiled, and one image for it."""

    case: Case
    program: Program
    work: Work
    image: NDArray[np.float32]
    quantize_seconds: float
    compile_seconds: float

    @property
    def cfg(self) -> VTAConfig:
        """The program's configuration."""
        return self.program.config


@dataclass(frozen=True)
class OnBus:
    """Cycles on the accelerator with one speed of the bus, and what no program can do better than."""

    cycles: int
    ideal: float
    milliseconds: float

    @property
    def ratio(self) -> float:
        """How many times its ideal."""
        return self.cycles / self.ideal


@dataclass(frozen=True)
class Figures:
    """One row of the table. ``buses`` is empty without RTL."""

    case: Case
    buses: dict[str, OnBus]
    differing: int
    """Elements of all layers that differ from the integer reference, and outputs that differ between simulators."""
    instructions: int
    arena_bytes: int
    launches: int
    macs_share: float
    """Multiply-accumulates on the accelerator, of all."""
    quantize_seconds: float
    compile_seconds: float
    functional_seconds: float
    on_cpu: tuple[str, ...] = field(default_factory=tuple)
    """Nodes on the CPU, without those that only change a type."""

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without RTL."""
        return self.buses["whole"].cycles <= self.case.reach if self.buses else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        ratios = {name: {"ratio": bus.ratio} for name, bus in self.buses.items()}
        values = asdict(self)
        for name, bus in values["buses"].items():
            bus |= ratios[name]
        return values | {"reached": self.reached}


def build(case: Case) -> Built:
    """The case's program, from seeded weights and images."""
    cfg, model = load_config(case.preset), MODELS[case.network](0)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.random.default_rng(1).normal(size=(case.calibration, *shape)).astype(np.float32)
    begun = time.perf_counter()
    quantized = quantize(model, cfg, images)
    middle = time.perf_counter()
    program = compile(quantized, cfg)
    end = time.perf_counter()
    return Built(case, program, work_of(model), images[:1], middle - begun, end - middle)


def cpu_nodes(program: Program) -> tuple[str, ...]:
    """Names of the nodes on the CPU that compute something."""
    steps = [step for step in program.steps if isinstance(step, CpuStep)]
    nodes = [node for step in steps for node in onnx.load_from_string(step.model).graph.node]
    return tuple(dict.fromkeys(node.name for node in nodes if node.name and node.op_type not in BORDER))


def build_simulator(cfg: VTAConfig, progress: ProgressCallback) -> None:
    """Build the configuration's RTL simulator, unless it is there."""
    RtlDevice(cfg, progress=progress).close()


def measure(built: Built, *, rtl: bool) -> Figures:
    """Run the image on every backend and every bus, and compare all layers. Raises DeviceError without cycles."""
    program, case = built.program, built.case
    functional = run(program, built.image, check=True)
    reports = _on_rtl(built) if rtl else {}
    differing = sum(report.mismatches or 0 for report in (functional, *reports.values()))
    for report in reports.values():
        differing += sum(int((report.outputs[name] != functional.outputs[name]).sum()) for name in program.outputs)
    return Figures(
        case=case,
        buses={name: _on_bus(built, report, BUSES[name]) for name, report in reports.items()},
        differing=differing,
        instructions=len(program.instructions()),
        arena_bytes=program.arena_size,
        launches=sum(not isinstance(step, CpuStep) for step in program.steps),
        macs_share=program.macs / program.batch / built.work.macs,
        quantize_seconds=built.quantize_seconds,
        compile_seconds=built.compile_seconds,
        functional_seconds=functional.seconds,
        on_cpu=cpu_nodes(program),
    )


def _on_rtl(built: Built) -> dict[str, RunReport]:
    """The runs with each speed of the bus, side by side: a simulation is one thread."""

    def one(interval: int) -> RunReport:
        memory = MemoryModel(beat_interval=interval)
        return run(built.program, built.image, backend="rtl", check=True, memory=memory)

    with ThreadPoolExecutor(len(BUSES)) as pool:
        return dict(zip(BUSES, pool.map(one, BUSES.values()), strict=True))


def _on_bus(built: Built, report: RunReport, interval: int) -> OnBus:
    if report.cycles is None:
        raise DeviceError(f"network {built.case.network}: nothing of it ran on the accelerator")
    ideal = ideal_cycles(built.cfg, built.work, interval)
    return OnBus(report.cycles, ideal, report.cycles / built.cfg.clock_mhz / 1e3)
