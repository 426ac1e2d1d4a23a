"""Quantize, compile and run a network, and what that showed."""

from __future__ import annotations

import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_app import Program, RunReport, VTAConfig, compile, load_config, quantize, run
from vta_app.output import ProgressCallback
from vta_arch.errors import DeviceError
from vta_arch.packing import PackStep
from vta_arch.program import CpuStep, Region, Tensor
from vta_runtime.packing import pack_windows
from vta_runtime.tensors import pack_tensor
from vta_sim.memory_model import MemoryModel
from vta_sim.rtl import RtlDevice
from vta_sw.frontend import Work, work_of
from vta_sw.models import MODELS

from .cases import BUSES, Case, ideal_cycles

PACK_RUNS = 5
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
    build_cpu_seconds: float
    """Of processor time for both, which a busy machine does not stretch."""

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
    build_cpu_seconds: float
    functional_seconds: float
    packing_milliseconds: float
    """Of one pass on this machine: gathering the first layer's windows and writing them as tiles."""
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


def seeded(network: str, count: int) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """A network of the zoo with seeded weights, and ``count`` seeded images for it."""
    model = MODELS[network](0)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return model, np.random.default_rng(1).normal(size=(count, *shape)).astype(np.float32)


def build(case: Case, packing: str) -> Built:
    """The case's program, from seeded weights and images; ``packing`` as :func:`vta_sw.compiler.compile` takes it."""
    cfg = load_config(case.preset)
    model, images = seeded(case.network, case.calibration)
    begun, cpu = time.perf_counter(), time.process_time()
    quantized = quantize(model, cfg, images)
    middle = time.perf_counter()
    program = compile(quantized, cfg, packing=packing)
    end, cpu = time.perf_counter(), time.process_time() - cpu
    return Built(case, program, work_of(model), images[:1], middle - begun, end - middle, cpu)


def cpu_nodes(program: Program) -> tuple[str, ...]:
    """Names of the nodes on the CPU that compute something."""
    steps = [step for step in program.steps if isinstance(step, CpuStep)]
    nodes = [node for step in steps for node in onnx.load_from_string(step.model).graph.node]
    return tuple(dict.fromkeys(node.name for node in nodes if node.name and node.op_type not in BORDER))


def packing_seconds(program: Program) -> float:
    """What the CPU needs for the packed tensors of a pass: the fastest of some runs of each."""
    total = 0.0
    for step in (step for step in program.steps if isinstance(step, PackStep)):
        source, packed = program.tensors[step.input], program.tensors[step.output]
        values: NDArray[np.integer] = np.zeros(source.shape, source.host_dtype)

        def pack(step: PackStep = step, packed: Tensor = packed, values: NDArray[np.integer] = values) -> None:
            found: NDArray[np.integer] = pack_windows(step, values, packed)  # type: ignore[assignment]
            pack_tensor(program.config, packed, found)

        total += min(timeit.repeat(pack, number=1, repeat=PACK_RUNS))
    return total


def build_simulator(cfg: VTAConfig, progress: ProgressCallback) -> None:
    """Build the configuration's RTL simulator, unless it is there."""
    RtlDevice(cfg, progress=progress).close()


def measure(built: Built, *, rtl: bool) -> Figures:
    """Run the image on every backend and every bus, and compare. Raises DeviceError without cycles.

    The program as it is gives the seconds and the cycles; where all layers are compared, the tensors that share
    memory are apart. All runs must have the outputs of the integer reference.
    """
    program, case = built.program, built.case
    wanted = run(program, built.image, backend="reference")
    plain = run(program, built.image)
    reports = _on_rtl(built) if rtl else {}
    runs = [run(program, built.image, check=True), plain, *reports.values()]
    differing = sum(report.mismatches or 0 for report in runs)
    for report in runs:
        differing += sum(int((report.outputs[name] != wanted.outputs[name]).sum()) for name in program.outputs)
    return Figures(
        case=case,
        buses={name: _on_bus(built, report, BUSES[name]) for name, report in reports.items()},
        differing=differing,
        instructions=sum(step.count for step in program.steps if isinstance(step, Region)),
        arena_bytes=program.arena_size,
        launches=sum(isinstance(step, Region) for step in program.steps),
        macs_share=program.macs / program.batch / built.work.macs,
        quantize_seconds=built.quantize_seconds,
        compile_seconds=built.compile_seconds,
        build_cpu_seconds=built.build_cpu_seconds,
        functional_seconds=plain.seconds,
        packing_milliseconds=packing_seconds(program) * 1e3,
        on_cpu=cpu_nodes(program),
    )


def _on_rtl(built: Built) -> dict[str, RunReport]:
    """The runs with each speed of the bus, side by side: a simulation is one thread. The slow bus compares layers."""

    def one(interval: int) -> RunReport:
        memory = MemoryModel(beat_interval=interval)
        return run(built.program, built.image, backend="rtl", check=interval > 1, memory=memory)

    with ThreadPoolExecutor(len(BUSES)) as pool:
        return dict(zip(BUSES, pool.map(one, BUSES.values()), strict=True))


def _on_bus(built: Built, report: RunReport, interval: int) -> OnBus:
    if report.cycles is None:
        raise DeviceError(f"network {built.case.network}: nothing of it ran on the accelerator")
    ideal = ideal_cycles(built.cfg, built.work, interval)
    return OnBus(report.cycles, ideal, report.cycles / built.cfg.clock_mhz / 1e3)
