"""``vta-board run``: a program over images, on the accelerator of this board."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.program import CpuStep, Program
from vta_runtime.array_arguments import read_array, read_inputs, write_arrays
from vta_runtime.evaluators import Evaluator, choose_evaluator
from vta_runtime.executor import Executor

from .device_options import add_device_options, chosen_device
from .devices.opening import BoardOptions, open_board

AUTO = "auto"


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    outputs: dict[str, NDArray[Any]]
    images: int
    seconds: float
    cycles: int | None
    mismatches: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser everything that can be chosen."""
    parser.add_argument("program", type=Path, metavar="P.vta")
    parser.add_argument(
        "--input", required=True, metavar="X.npz[:KEY]", help="images (key: x); several inputs: a key each"
    )
    parser.add_argument("--labels", metavar="Y.npz[:KEY]", help="class of each image (key: y); gives top-1")
    add_device_options(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=BoardOptions.timeout,
        metavar="SECONDS",
        help="that one launch of the accelerator may take (default: %(default)g)",
    )
    parser.add_argument(
        "--cpu",
        choices=[AUTO, *map(str, Evaluator)],
        default=AUTO,
        help="what runs CPU subgraphs (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="run only the first N images")
    parser.add_argument("--check", action="store_true", help="compare every layer with the integer reference")
    parser.add_argument("--output", type=Path, metavar="Y.npz", help="write the network's outputs")


def run_program(chosen: argparse.Namespace, root: Path) -> None:
    """Run, print what came of it, write outputs. Raises VTAError, also when a layer differs from the reference."""
    program = Program.load(chosen.program)
    if chosen.limit is not None and chosen.limit < 1:
        raise DataError(f"--limit {chosen.limit}: must be 1 or more images")
    inputs = {name: array[: chosen.limit] for name, array in read_inputs(chosen.input, program.inputs).items()}
    labels = None if chosen.labels is None else read_array(chosen.labels, "y")[: chosen.limit]
    if labels is not None:
        _check_labels(labels, inputs)
    cpu = _evaluator(program, chosen.cpu)
    kind, board, options = chosen_device(chosen, timeout=chosen.timeout)
    with open_board(kind, program.config, board, options, root=root) as device:
        executor = Executor(program, device, cpu=cpu)
        begin = time.perf_counter()
        outputs = executor.run(inputs, check=chosen.check)
        seconds = time.perf_counter() - begin
    report = executor.report
    _print(program, Result(outputs, report.images, seconds, report.cycles, report.mismatches), labels)
    if chosen.output is not None:
        write_arrays(chosen.output, outputs)
    if report.mismatches:
        raise DataError(f"{report.mismatches} elements differ from the integer reference")


def _evaluator(program: Program, wanted: str) -> Evaluator:
    """What runs the CPU's part, said on stderr where there is one."""
    if wanted != AUTO:
        return Evaluator(wanted)
    found, why = choose_evaluator()
    if any(isinstance(step, CpuStep) for step in program.steps):
        print(f"CPU subgraphs run in {found} ({why})", file=sys.stderr)
    return found


def _print(program: Program, result: Result, labels: NDArray[Any] | None) -> None:
    print(f"images      {result.images}")
    if result.cycles is not None:
        each = result.cycles / result.images
        milliseconds = each / program.config.clock_mhz / 1000
        print(f"cycles      {each:,.0f} an image: {milliseconds:.3f} ms at {program.config.clock_mhz:g} MHz")
    print(f"time        {1000 * result.seconds / result.images:.3f} ms an image, transfers and CPU included")
    if result.mismatches is not None:
        print(f"mismatches  {result.mismatches}")
    if labels is not None:
        scores = next(iter(result.outputs.values()))
        top = float((scores.reshape(len(scores), -1).argmax(1) == labels).mean() * 100)
        print(f"top-1       {top:.2f} %")


def _check_labels(labels: NDArray[Any], inputs: dict[str, NDArray[Any]]) -> None:
    count = max((len(array) for array in inputs.values() if array.ndim), default=0)
    if labels.shape != (count,):
        raise DataError(f"labels have the shape {list(labels.shape)}: give one class for each of {count} images")
