"""``vta bench``: a float network beside its quantized form."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from vta_arch.errors import DeviceError
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..accuracy import read_test_data
from ..devices import Backend
from ..options import Batch, Config, JsonFile
from ..output import print_table, write_json

if TYPE_CHECKING:
    from ..bench import Bench


class CycleSource(StrEnum):
    """Where cycles come from."""

    MODEL = "model"
    RTL = "rtl"


def bench(
    network: Annotated[Path, typer.Argument(metavar="F.onnx", help="Float network.")],
    quantized: Annotated[Path, typer.Argument(metavar="Q.onnx", help="The same network, quantized (QDQ).")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="X.npz[:key]",
            help="Samples to measure on (labels: key y; without any, agreement with the float network).",
        ),
    ],
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="X.npz[:key]", help="Class of each sample of --data.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N samples of --data.")
    ] = None,
    config: Config = DEFAULT_PRESET,
    batch: Batch = None,
    backend: Annotated[
        CycleSource,
        typer.Option("--backend", help="rtl: also run one pass on the RTL, and compare it with the integer reference."),
    ] = CycleSource.MODEL,
    json: JsonFile = None,
) -> None:
    """Compare a float network with its quantized form: accuracy, size, time on this CPU, cycles on the accelerator.

    Example: `vta bench examples/digits_resnet.onnx build/digits_q.onnx --data build/digits/test.npz`
    """
    from vta_sw.frontend import prepare

    from ..bench import bench as compare_networks

    cfg = load_config(config)
    samples = read_test_data(data, labels, prepare(network), limit)
    runs_on = Backend.RTL if backend is CycleSource.RTL else None
    found = compare_networks(network, quantized, samples, cfg, runs_on, batch)
    if json is not None:
        write_json(json, dataclasses.asdict(found))
    _print(found)
    if found.accelerator.differing:
        raise DeviceError(f"{found.accelerator.differing:,} elements on the RTL differ from the integer reference")


def _print(found: Bench) -> None:
    sides, result, device = (found.float, found.quantized), found.comparison, found.accelerator
    rows = [
        ["file, KiB", *(f"{side.bytes / 1024:,.1f}" for side in sides)],
        ["onnxruntime on this CPU, us a sample", *(f"{side.cpu_seconds * 1e6:,.0f}" for side in sides)],
    ]
    if result.top1 is not None:
        rows.append([f"top-1 over {result.samples:,}", f"{result.float_top1:.2f} %", f"{result.top1:.2f} %"])
    rows.append(["same class", "-", f"{result.same:.2f} %"])
    rows.append([f"{device.config}, cycles of a pass (samples: {device.samples})", "-", f"{device.cycles:,}"])
    if device.rtl_cycles is not None:
        rows.append(["the same on the RTL", "-", f"{device.rtl_cycles:,}"])
    rows.append([f"{device.config}, predicted us of a pass", "-", f"{device.seconds * 1e6:,.0f}"])
    rows.append(["nodes on the board's CPU", "-", str(device.nodes_on_cpu)])
    print_table(["", "float", "quantized"], rows, right=["float", "quantized"])
