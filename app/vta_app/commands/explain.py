"""``vta explain``: where each node of a network runs, why, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_sw.offload import Offload

from ..options import Batch, Config, JsonFlag, Shape, parse_shapes
from ..output import print_json, print_table, progress_bars
from ..placement import CpuProfileOption, Force, KeepOnCpu, OffloadOption, host, placement_options

if TYPE_CHECKING:
    from vta_sw.explain import Explanation, NodeReport


def explain(
    network: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized (QDQ) network.")],
    config: Config = DEFAULT_PRESET,
    batch: Batch = None,
    shape: Shape = None,
    offload: OffloadOption = Offload.AUTO,
    keep_on_cpu: KeepOnCpu = None,
    force: Force = None,
    cpu_profile: CpuProfileOption = None,
    tilings: Annotated[bool, typer.Option("--tilings", help="Show the tilings that were tried, too.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show where each node of a network would run, why, and its predicted time on either side.

    Cycles are those of a layer alone; a launch of several layers takes fewer, as the totals show.

    Example: `vta explain build/digits_q.onnx --config pynq-z1`
    """
    from vta_sw.compiler import Compilation
    from vta_sw.explain import explain as explain_network

    cfg = load_config(config)
    options, profile = placement_options(offload, keep_on_cpu, force), host(cfg, cpu_profile)
    with progress_bars() as progress:
        compilation = Compilation(
            network,
            cfg,
            batch=batch,
            shapes=parse_shapes(shape),
            progress=progress,
            placement=options,
            cpu=profile,
            predict=True,
        )
        found = explain_network(compilation)
    if json:
        print_json(found.to_dict())
        return
    _print_nodes(found)
    if tilings:
        _print_tilings(found)
    _print_crossings(found)
    _print_totals(found)


def _us(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:,.0f}"


def _print_nodes(found: Explanation) -> None:
    columns = ["node", "operator", "runs on", "cycles", "accelerator us", "CPU us", "why"]
    rows = [
        [
            node.name,
            node.op,
            node.where,
            "-" if node.cycles is None else f"{node.cycles:,}",
            _us(node.accelerator),
            _us(node.cpu),
            node.reason,
        ]
        for node in found.nodes
    ]
    print_table(columns, rows, right=columns[3:6])


def _print_tilings(found: Explanation) -> None:
    print_table(["layer", "tiling", "cost, cycles", "chosen"], list(_tilings(found.nodes)), right=["cost, cycles"])


def _tilings(nodes: tuple[NodeReport, ...]) -> list[list[str]]:
    return [
        [node.name, item.what, f"{item.cost:,}", "yes" if item.chosen else ""]
        for node in nodes
        for item in node.alternatives
    ]


def _print_crossings(found: Explanation) -> None:
    if not found.crossings:
        return
    rows = [
        [item.tensor, "to the accelerator" if item.to_accelerator else "to the CPU", _us(item.seconds)]
        for item in found.crossings
    ]
    print_table(["tensor that crosses", "direction", "us"], rows, right=["us"])


def _print_totals(found: Explanation) -> None:
    clock, launches = f"{found.clock_mhz:g} MHz", "launch" if found.launches == 1 else "launches"
    rows = [
        [
            f"accelerator, {found.launches} {launches}",
            f"{found.cycles:,} cycles at {clock}",
            _us(found.accelerator_seconds),
        ],
        ["CPU", f"profile {found.cpu_profile}", _us(found.cpu_seconds)],
        ["conversions and launches", f"{len(found.crossings)} tensors", _us(found.crossing_seconds)],
        ["one pass", f"{found.instructions:,} instructions", _us(found.seconds)],
        ["the same on the CPU alone", "", _us(found.all_on_cpu_seconds)],
    ]
    print_table(["total", "", "us"], rows, right=["us"])
