"""``vta-board``: what a person types on the board itself, where only the runtime is installed."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from vta_arch.errors import DataError, VTAError
from vta_arch.files import atomic_output
from vta_arch.program import CpuStep, Program
from vta_runtime.evaluators import Evaluator, choose_evaluator
from vta_runtime.executor import Executor

from .board import BOARDS, find_board
from .devices.opening import BoardOptions, DeviceKind, open_board
from .flash import Via, flash

TERMINATED = 143
"""Exit status after SIGTERM, as a shell reports it."""
AUTO = "auto"


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    outputs: dict[str, NDArray[Any]]
    images: int
    seconds: float
    cycles: int | None
    mismatches: int | None


def main(arguments: Sequence[str] | None = None, *, root: Path = Path("/")) -> int:
    """Run the command line; a mistake is one line on stderr and exit status 1. ``root`` stands for ``/``."""
    chosen = _parser().parse_args(arguments)
    # A killed run still resets the accelerator on its way out.
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        if chosen.command == "flash":
            flash(
                find_board(chosen.board), chosen.folder, Via.LOCAL, with_overlay=chosen.overlay, dry_run=chosen.dry_run
            )
        else:
            _run(chosen, root)
    except VTAError as error:
        print(f"vta: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vta-board", description="The VTA accelerator, from the board's own Linux.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a program over images")
    run.add_argument("program", type=Path, metavar="P.vta")
    run.add_argument(
        "--input", required=True, metavar="X.npz[:KEY]", help="images (key: x); several inputs: a key each"
    )
    run.add_argument("--labels", metavar="Y.npz[:KEY]", help="class of each image (key: y); gives top-1")
    run.add_argument("--board", choices=list(BOARDS), required=True)
    run.add_argument("--device", choices=[str(kind) for kind in DeviceKind], default=str(DeviceKind.UIO))
    run.add_argument("--bitfile", type=Path, metavar="X.bit", help="bitstream for PYNQ to program")
    run.add_argument("--buffer", default=BoardOptions.buffer, metavar="NAME", help="u-dma-buf buffer")
    run.add_argument("--memory-mib", type=int, default=BoardOptions.memory_mib, help="buffer that PYNQ allocates")
    run.add_argument("--uncached", action="store_true", help="open the buffer without CPU cache")
    run.add_argument("--poll", action="store_true", help="poll instead of waiting for the interrupt")
    run.add_argument("--timeout", type=float, default=BoardOptions.timeout, metavar="SECONDS", help="for each run")
    run.add_argument("--cpu", choices=[AUTO, *map(str, Evaluator)], default=AUTO, help="what runs CPU subgraphs")
    run.add_argument("--limit", type=int, metavar="N", help="run only the first N images")
    run.add_argument("--check", action="store_true", help="compare every layer with the integer reference")
    run.add_argument("--output", type=Path, metavar="Y.npz", help="write the network's outputs")
    program = commands.add_parser("flash", help="program this board with a build")
    program.add_argument("board", choices=list(BOARDS))
    program.add_argument("folder", type=Path, metavar="DIR")
    program.add_argument("--no-overlay", dest="overlay", action="store_false", help="load no device tree overlay")
    program.add_argument("--dry-run", action="store_true", help="show the steps only")
    return parser


def _run(chosen: argparse.Namespace, root: Path) -> None:
    program = Program.load(chosen.program)
    if chosen.limit is not None and chosen.limit < 1:
        raise DataError(f"--limit {chosen.limit}: must be 1 or more images")
    inputs = {name: array[: chosen.limit] for name, array in _inputs(program, chosen.input).items()}
    labels = None if chosen.labels is None else _array(chosen.labels, "y")[: chosen.limit]
    if labels is not None:
        _check_labels(labels, inputs)
    cpu = _evaluator(program, chosen.cpu)
    options = BoardOptions(
        buffer=chosen.buffer,
        cached=not chosen.uncached,
        interrupt=False if chosen.poll else None,
        bitfile=chosen.bitfile,
        memory_mib=chosen.memory_mib,
        timeout=chosen.timeout,
    )
    board = find_board(chosen.board)
    with open_board(DeviceKind(chosen.device), program.config, board, options, root=root) as device:
        executor = Executor(program, device, cpu=cpu)
        begin = time.perf_counter()
        outputs = executor.run(inputs, check=chosen.check)
        seconds = time.perf_counter() - begin
    report = executor.report
    _print(program, Result(outputs, report.images, seconds, report.cycles, report.mismatches), labels)
    if chosen.output is not None:
        _write(chosen.output, outputs)
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


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """An npz file of arrays of any name, which numpy's own function cannot take. Raises DataError."""
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy_format.write_array(member, np.asarray(value, order="C"), allow_pickle=False)


def _inputs(program: Program, argument: str) -> dict[str, NDArray[Any]]:
    if len(program.inputs) == 1:
        return {program.inputs[0]: _array(argument, "x")}
    return {name: _array(f"{argument}:{name}", name) for name in program.inputs}


def _array(argument: str, default_key: str) -> NDArray[Any]:
    """The array that ``FILE.npz[:KEY]`` names. Raises DataError."""
    name, colon, key = argument.rpartition(":")
    if not colon or Path(argument).exists():
        name, key = argument, default_key
    try:
        with np.load(name, allow_pickle=False) as archive:
            if key not in archive.files:
                raise DataError(f"{name}: has no array {key!r}; it has {', '.join(archive.files) or 'none'}")
            array: NDArray[Any] = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(f"{name}: cannot be read as an npz file: {' '.join(str(error).split())}") from None
    return array


if __name__ == "__main__":
    sys.exit(main())
