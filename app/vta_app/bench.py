"""A float network against its quantized form: accuracy, size, and time on either side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError

from .accuracy import CHUNK, Comparison, TestData, compare, top_classes
from .devices import Backend
from .inference import run

if TYPE_CHECKING:
    from onnx import ModelProto
    from vta_arch.config import VTAConfig

_REPEATS = 3


@dataclass(frozen=True)
class Side:
    """One of both files."""

    file: str
    bytes: int
    cpu_seconds: float
    """Seconds of one sample in onnxruntime on this machine, the best of a few runs."""


@dataclass(frozen=True)
class Accelerator:
    """What one pass takes on the accelerator, by the cycle model; ``rtl_cycles``: measured, None if it was not."""

    config: str
    samples: int
    """Samples of one pass."""
    cycles: int
    seconds: float
    """Predicted, what stays on the board's CPU and conversions included."""
    nodes_on_cpu: int
    rtl_cycles: int | None
    differing: int | None
    """Elements in which the RTL's layers differ from the integer reference."""


@dataclass(frozen=True)
class Bench:
    """Both sides, what they make of the data, and the accelerator."""

    float: Side
    quantized: Side
    comparison: Comparison
    accelerator: Accelerator


def bench(
    network: Path, quantized: Path, data: TestData, cfg: VTAConfig, backend: Backend | None, batch: int | None
) -> Bench:
    """Compare the files. The quantized one is compiled for ``cfg``, all that can run on the accelerator; with a
    ``backend`` that one runs a pass of it, too.

    Raises ModelError for files that cannot be used, DataError for ones that do not belong together.
    """
    from vta_sw.frontend import Graph, prepare

    models = prepare(network), prepare(quantized)
    names = [[value.name for value in Graph(model).inputs] for model in models]
    if names[0] != names[1]:
        raise DataError(f"{quantized}: has inputs {', '.join(names[1])}, the float network {', '.join(names[0])}")
    classes = [top_classes(model, data.inputs) for model in models]
    sides = [
        Side(str(path), path.stat().st_size, _cpu_seconds(model, data.inputs))
        for path, model in zip((network, quantized), models, strict=True)
    ]
    return Bench(
        sides[0],
        sides[1],
        compare(classes[0], classes[1], data.labels),
        _accelerator(models[1], cfg, data, backend, batch),
    )


def _cpu_seconds(model: ModelProto, inputs: Mapping[str, NDArray[Any]]) -> float:
    """Seconds a sample, as onnxruntime runs a network by default."""
    from vta_sw.frontend import Graph, open_session, run_session
    from vta_sw.quantize.samples import batches

    graph = Graph(model)
    session, outputs = open_session(model), graph.output_names
    fixed = (graph.shape(graph.inputs[0].name) or (None,))[0]
    chunk, count = next(batches(inputs, fixed or CHUNK, fixed is not None))
    best = np.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run_session(session, outputs, chunk)
        best = min(best, time.perf_counter() - start)
    return best / count


def _accelerator(
    model: ModelProto, cfg: VTAConfig, data: TestData, backend: Backend | None, batch: int | None
) -> Accelerator:
    from vta_sw.compiler import Compilation, compile
    from vta_sw.cpu_model import profile_of
    from vta_sw.explain import explain

    found = explain(Compilation(model, cfg, batch=batch, cpu=profile_of(cfg.board), predict=True))
    program = compile(model, cfg, batch=batch)
    report = None
    if backend is not None:
        few = {name: array[: program.batch] for name, array in data.inputs.items()}
        report = run(program, few, backend=backend, check=True)
    return Accelerator(
        config=cfg.name,
        samples=program.batch,
        cycles=found.cycles,
        seconds=found.seconds,
        nodes_on_cpu=sum(node.where == "CPU" for node in found.nodes),
        rtl_cycles=None if report is None else report.cycles,
        differing=None if report is None else report.mismatches,
    )
