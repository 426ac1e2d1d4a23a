"""Running a program over images: outputs, accuracy, cycles, and the distance to the integer reference."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DataError
from vta_arch.program import Program
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor
from vta_runtime.executor import RunReport as ExecutorReport

from .devices import Backend, check_clocked, check_traceable, open_device
from .output import ProgressCallback

if TYPE_CHECKING:
    from vta_sim.memory_model import MemoryModel
    from vta_sim.trace_summary import Summary
    from vta_sim.trace_timeline import TimelineWriter

Arrays = Mapping[str, NDArray[Any]]


@dataclass
class RunReport:
    """What a run gave. ``cycles`` are the accelerator's, over all images; None where there is no clock."""

    backend: str
    config: str
    fingerprint: str
    images: int
    seconds: float
    top1: float | None = None
    """Percent of images whose largest value of the first output is at the label."""
    cycles: int | None = None
    mismatches: int | None = None
    """Elements that differ from the integer reference, all layers; None when it was not compared."""
    mismatches_by_layer: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Network outputs by ONNX name, images first; where layers ran alone, their output tensors."""
    timeline: Summary | None = None
    """Where the cycles went; None without a trace."""

    @property
    def cycles_per_image(self) -> float | None:
        """Cycles divided by images."""
        return None if self.cycles is None else self.cycles / self.images

    @property
    def first_mismatch(self) -> str | None:
        """Name of the first layer that differs from the reference."""
        return next((name for name, count in self.mismatches_by_layer.items() if count), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON values of everything but the outputs."""
        names = ("backend", "config", "fingerprint", "images", "seconds", "top1", "cycles", "cycles_per_image")
        values = {name: getattr(self, name) for name in names}
        values |= {"mismatches": self.mismatches, "mismatches_by_layer": self.mismatches_by_layer}
        return values if self.timeline is None else values | {"timeline": self.timeline.to_dict()}


def run(
    program: Program | str | Path,
    x: NDArray[Any] | Arrays,
    *,
    backend: Backend | str = Backend.FUNCTIONAL,
    labels: NDArray[Any] | None = None,
    limit: int | None = None,
    check: bool = False,
    layers: Sequence[str] = (),
    trace: str | Path | None = None,
    memory: MemoryModel | None = None,
    progress: ProgressCallback | None = None,
    cpu: Evaluator | str = Evaluator.ONNXRUNTIME,
) -> RunReport:
    """Run a program over images.

    Args:
        program: a compiled program or the path of one.
        x: the network's input, images first, of any numeric type (it is cast to what the network takes); for a
            network of several inputs a mapping from their names.
        backend: ``functional``, ``rtl``, ``reference`` or ``cocotb``.
        labels: class of each image, integers of shape [images]; gives ``top1``.
        limit: run only that many images, the first ones.
        check: compare every layer with the integer reference.
        layers: run only these layers, each alone, with inputs taken from the integer reference; they are
            always compared with it.
        trace: file for a timeline of the accelerator's units, see :mod:`vta_sim.trace_timeline`; only with ``rtl``.
        memory: how the memory behind the accelerator behaves; only with ``rtl``, default is the reference memory.
        progress: called with a stage's name, the images done and the images in all.
        cpu: what runs the nodes that are not on the accelerator, ``onnxruntime`` or ``numpy``.

    Raises DataError for arrays or options that do not fit, ProgramError for a program or layer that cannot be
    used, DeviceError when the device reports an error.
    """
    loaded = program if isinstance(program, Program) else Program.load(program)
    chosen = _backend(backend)
    inputs = network_inputs(loaded, x, limit)
    classes = None if labels is None or layers else image_classes(np.asarray(labels), x, inputs)
    if memory is not None:
        check_clocked(chosen)
    evaluator = _evaluator(cpu)
    with (
        _timeline(loaded, chosen, trace) as timeline,
        _executor(loaded, chosen, progress, timeline, memory, evaluator) as executor,
    ):
        start = time.perf_counter()
        outputs = executor.run(inputs, check=check, layers=list(layers) or None, progress=progress)
        seconds = time.perf_counter() - start
    top1 = None if classes is None else top1_of(outputs[loaded.outputs[0]], classes)
    report = make_report(executor.report, loaded.config, chosen.value, seconds, top1, outputs)
    report.timeline = None if timeline is None else timeline.summary
    return report


def make_report(
    found: ExecutorReport, cfg: VTAConfig, backend: str, seconds: float, top1: float | None, outputs: Arrays
) -> RunReport:
    """What a run gave, from what the runtime reports."""
    return RunReport(
        backend=backend,
        config=cfg.name,
        fingerprint=cfg.fingerprint_hex,
        images=found.images,
        seconds=seconds,
        top1=top1,
        cycles=found.cycles,
        mismatches=found.mismatches,
        mismatches_by_layer=found.mismatches_by_layer,
        outputs={name: values.astype(np.float32) for name, values in outputs.items()},
    )


def _backend(name: Backend | str) -> Backend:
    if name not in list(Backend):
        raise DataError(f"backend {name!r} is unknown; choose one of {', '.join(Backend)}")
    return Backend(name)


def _evaluator(name: Evaluator | str) -> Evaluator:
    if name not in list(Evaluator):
        raise DataError(f"CPU evaluator {name!r} is unknown; choose one of {', '.join(Evaluator)}")
    return Evaluator(name)


def network_inputs(program: Program, x: NDArray[Any] | Arrays, limit: int | None) -> dict[str, NDArray[Any]]:
    """The first ``limit`` images by input name. Raises DataError."""
    if limit is not None and limit < 1:
        raise DataError(f"limit = {limit}: must be 1 or more images")
    if not isinstance(x, Mapping):
        if len(program.inputs) != 1:
            raise DataError(f"the network has the inputs {', '.join(program.inputs)}: give an array for each")
        x = {program.inputs[0]: x}
    arrays = {name: np.asarray(values) for name, values in x.items()}
    chosen = {name: values[:limit] if values.ndim else values for name, values in arrays.items()}
    for name, values in chosen.items():
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise DataError(f"input {name!r} contains NaN, which has no place in an integer network")
    return chosen


def image_classes(labels: NDArray[Any], x: NDArray[Any] | Arrays, inputs: Arrays) -> NDArray[Any]:
    """The labels of the chosen images, checked before a long run. Raises DataError."""
    given = {np.shape(values)[:1] for values in (x.values() if isinstance(x, Mapping) else [x])}
    chosen = {values.shape[:1] for values in inputs.values()}
    if labels.ndim != 1 or labels.shape not in given | chosen:
        count = max(shape[0] if shape else 0 for shape in given)
        raise DataError(f"labels have shape {list(labels.shape)}; expected one class for each of {count} images")
    if labels.dtype.kind not in "biuf" or (labels.dtype.kind == "f" and not (labels == np.floor(labels)).all()):
        raise DataError(f"labels of type {labels.dtype} are not all whole numbers; expected the number of a class each")
    return labels[: max(shape[0] for shape in chosen)]


def top1_of(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Percent of images whose largest score is at the label. Raises DataError."""
    if len(scores) != len(labels):
        raise DataError(f"the network's first output has shape {list(scores.shape)}: it gives no class an image")
    return float((scores.reshape(len(scores), -1).argmax(1) == labels).mean() * 100)


@contextlib.contextmanager
def _timeline(program: Program, backend: Backend, path: str | Path | None) -> Iterator[TimelineWriter | None]:
    """A timeline that is written to ``path``; None without one."""
    if path is None:
        yield None
        return
    check_traceable(backend)
    from .timeline import timeline

    with timeline(program, path) as writer:
        yield writer


@contextlib.contextmanager
def _executor(
    program: Program,
    backend: Backend,
    progress: ProgressCallback | None,
    timeline: TimelineWriter | None,
    memory: MemoryModel | None,
    cpu: Evaluator,
) -> Iterator[Executor]:
    if backend is Backend.REFERENCE:
        yield Executor(program, None, cpu=cpu)
        return
    on_launch = None if timeline is None else timeline.add
    with open_device(backend, program.config, progress, on_launch=on_launch, memory=memory) as device:
        yield Executor(program, device, cpu=cpu)
