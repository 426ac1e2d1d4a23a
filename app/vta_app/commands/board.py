"""``vta board``: the boards, and builds for them."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from vta_arch.presets import load_config

from ..options import JsonFlag
from ..output import print_done, print_json, print_table, progress_bars
from .board_flash import flash

app = typer.Typer(help="Boards: what they are, builds for them, programming them.", no_args_is_help=True)


class FlowName(StrEnum):
    """Tools that make a bitstream."""

    VIVADO = "vivado"
    OPENXC7 = "openxc7"


@app.command("list")
def list_boards(json: JsonFlag = False) -> None:
    """Print the boards: device, resources, clock, memory port, and which presets fit.

    Example: `vta board list`
    """
    from vta_boards.listing import board_rows

    rows = board_rows()
    if json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    columns = ["board", "name", "device", "LUT", "DSP", "BRAM36", "memory", "port", "bits", "preset", "MHz", "fits"]
    cells = [
        (
            row.board,
            row.name,
            row.device,
            f"{row.lut:,}",
            f"{row.dsp:,}",
            row.bram36,
            f"{row.memory_mib:,} MiB",
            row.memory_port,
            row.memory_bits,
            row.preset,
            f"{row.clock_mhz:g}",
            "not measured" if row.fits is None else ", ".join(row.fits) or "none",
        )
        for row in rows
    ]
    print_table(columns, cells, right=["LUT", "DSP", "BRAM36", "memory", "bits", "MHz"])


@app.command()
def build(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="A board of `vta board list`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder: new, or an earlier build's.")],
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="NAME|FILE", help="Configuration (default: the board's preset)."),
    ] = None,
    flow: Annotated[FlowName, typer.Option("--flow", help="Tools that make the bitstream.")] = FlowName.VIVADO,
    clock: Annotated[
        float | None, typer.Option("--clock", metavar="MHZ", help="Clock instead of the configuration's.")
    ] = None,
    run: Annotated[bool, typer.Option(help="Run the tools where they are on PATH.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Most time for the tools.")] = 4
    * 3600,
) -> None:
    """Write a folder with all that the tools need; where they are on PATH, run them: .bit, .hwh, .bin, .xsa.

    Fails when timing is not met, naming the path.

    Example: `vta board build pynq-z1 --config pynq-z1 -o build/pynq`
    """
    from vta_boards.board import find_board
    from vta_boards.build import FLOWS, Build, finish, write_folder

    found = find_board(board)
    cfg = load_config(config or found.preset)
    if clock is not None:
        cfg = dataclasses.replace(cfg, clock_mhz=clock)
    plan, tools = Build(found, cfg, flow.value), FLOWS[flow.value]
    removed = write_folder(output, plan)
    if removed:
        print_done(f"{output}: removed {', '.join(removed)}, of an earlier build")
    print_done(f"{output}: files for {found.name}, {cfg.name} at {cfg.clock_mhz:g} MHz")
    missing = tools.missing() if run else "--no-run was given"
    if missing:
        print_done(f"no bitstream yet: {missing}; then, in {output}: {' '.join(tools.command)}")
        return
    with progress_bars() as progress:
        told = tools.run(output, timeout, progress)
    finish(output, plan)
    for line in told:
        if line.startswith(("warning: ", "setup slack", "hold slack")):
            print_done(line)
    print_done(f"{output}: {', '.join(plan.products)}")


app.command()(flash)
