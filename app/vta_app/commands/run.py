"""``vta run``: a program over images, on a simulator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from vta_arch.errors import DataError, DeviceError
from vta_arch.program import Program
from vta_runtime.array_arguments import read_array, read_inputs, write_arrays
from vta_runtime.evaluators import Evaluator

from ..devices import Backend, check_clocked, check_traceable
from ..listing import check_configuration
from ..options import ConfigOrNone, JsonFile, check_output
from ..output import print_done, print_table, progress_bars, write_json

if TYPE_CHECKING:
    from vta_sim.memory_model import MemoryModel
    from vta_sim.trace_summary import Summary

    from ..inference import RunReport


def parse_backend(text: str) -> str:
    """A backend, or the address of a server, which nothing else looks like."""
    if "://" in text:
        return text
    if text not in list(Backend):
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(Backend)}, http://HOST:PORT")
    return Backend(text)


BackendOrServer = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar=f"{'|'.join(Backend)}|http://HOST:PORT",
        parser=parse_backend,
        help="What runs it; an address (http or https) is that of `vta serve` or a board.",
    ),
]


def run(
    program: Annotated[Path, typer.Argument(metavar="P.vta", help="Compiled program.")],
    input_file: Annotated[
        str, typer.Option("--input", metavar="X.npz[:key]", help="Images (key: x); several inputs: one key each.")
    ],
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="X.npz[:key]", help="Class of each image (key: y); gives top-1.")
    ] = None,
    backend: BackendOrServer = Backend.FUNCTIONAL,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Run only the first N images.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every layer with the integer reference.")] = False,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME[,NAME]", help="Run these layers alone, and compare them.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="F.json",
            callback=check_output,
            help="Write a timeline of every unit for ui.perfetto.dev; needs --backend rtl.",
        ),
    ] = None,
    beat_interval: Annotated[
        int | None,
        typer.Option(
            "--beat-interval",
            metavar="N",
            min=1,
            help="Cycles from one beat on the RTL's bus to the next, each direction (default 1); 2 is half the bus.",
        ),
    ] = None,
    json: JsonFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="Y.npz", callback=check_output, help="Write the network's outputs, float32."
        ),
    ] = None,
    config: ConfigOrNone = None,
    cpu: Annotated[
        Evaluator | None,
        typer.Option(
            "--cpu",
            help="What runs the nodes that are not on the accelerator (default: onnxruntime; a server's own choice).",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="F", help="Token of the server; else VTA_TOKEN.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="F.pem", help="Certificate of an https server to trust.")
    ] = None,
) -> None:
    """Run a program over images: accuracy, cycles, and the distance to the integer reference.

    With `--check` or `--layer` the exit status is 1 when anything differs, and the first layer is named.

    On a server all of this happens there, the comparison too; only its address, its token and the tensors are ours.

    Example: `vta run build/digits.vta --input build/digits/test.npz --labels build/digits/test.npz:y --check`
    """
    runner = _runner(backend, trace, beat_interval, cpu, token_file, ca_file)
    loaded = Program.load(program)
    check_configuration(loaded, config, program)
    names = _layer_names(layer)
    with progress_bars() as progress:
        report = runner(
            loaded if isinstance(backend, Backend) else program,
            read_inputs(input_file, loaded.inputs),
            labels=None if labels is None else read_array(labels, "y"),
            limit=limit,
            check=check,
            layers=names,
            progress=progress,
        )
    if output is not None:
        write_arrays(output, report.outputs)
    if json is not None:
        write_json(json, report.to_dict())
    _print(report)
    _refuse_mismatch(report)


def _runner(
    backend: str,
    trace: Path | None,
    beat_interval: int | None,
    cpu: Evaluator | None,
    token_file: Path | None,
    ca_file: Path | None,
) -> Callable[..., RunReport]:
    """The function that runs a program there. Raises DeviceError for options that the backend does not have."""
    from ..inference import run as run_program
    from ..remote import refuse_options, run_on_server, server_token

    if not isinstance(backend, Backend):
        refuse_options(backend, {"--trace": trace, "--beat-interval": beat_interval})
        return partial(run_on_server, url=backend, token=server_token(token_file), ca_file=ca_file, cpu=cpu)
    refuse_options(backend, {"--token-file": token_file, "--ca-file": ca_file})
    if trace is not None:
        check_traceable(backend)
    memory = None if beat_interval is None else _memory(backend, beat_interval)
    evaluator = Evaluator.ONNXRUNTIME if cpu is None else cpu
    return partial(run_program, backend=backend, trace=trace, memory=memory, cpu=evaluator)


def _refuse_mismatch(report: RunReport) -> None:
    """Raises DeviceError naming the first layer that differs from the integer reference."""
    name = report.first_mismatch
    if name is not None:
        count = report.mismatches_by_layer[name]
        raise DeviceError(f"layer {name!r} on {report.backend} differs from the integer reference in {count} elements")


def _memory(backend: Backend, beat_interval: int) -> MemoryModel:
    check_clocked(backend)
    from vta_sim.memory_model import MemoryModel

    return MemoryModel(beat_interval=beat_interval)


def _layer_names(option: str | None) -> list[str]:
    names = [name.strip() for name in (option or "").split(",") if name.strip()]
    if option is not None and not names:
        raise DataError(f"--layer {option!r} names no layer; expected NAME[,NAME]")
    return names


def _print(report: RunReport) -> None:
    rows = [("backend", report.backend), ("configuration", f"{report.config} ({report.fingerprint})")]
    rows += [("images", f"{report.images:,}"), ("seconds", f"{report.seconds:.2f}")]
    if report.top1 is not None:
        rows.append(("top-1", f"{report.top1:.2f} %"))
    if report.cycles is not None:
        rows += [("cycles", f"{report.cycles:,}"), ("cycles an image", f"{report.cycles_per_image:,.0f}")]
    if report.mismatches is not None:
        rows.append(("differing elements", f"{report.mismatches:,} in {len(report.mismatches_by_layer)} layers"))
    print_table(["result", "value"], rows)
    if report.timeline is not None:
        _print_timeline(report.timeline)
    for name, count in report.mismatches_by_layer.items():
        if count:
            print_done(f"layer {name}: {count:,} elements differ")


def _print_timeline(summary: Summary) -> None:
    """Busy and waiting shares of every engine, and the cycles of each layer."""
    print_table(
        ["engine", "instructions", "busy", "longest waits"], summary.engine_rows(), right=["instructions", "busy"]
    )
    columns = ["layer", "cycles", "of the run", "array busy"]
    print_table(columns, summary.layer_rows(), right=columns[1:])
