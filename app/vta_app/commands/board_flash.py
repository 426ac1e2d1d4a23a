"""``vta board flash``: a build onto its board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from vta_boards.via import Via

from ..output import print_done


def flash(
    name: Annotated[str, typer.Argument(metavar="BOARD", help="A board of `vta board list`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `vta board build` made.")],
    via: Annotated[Via, typer.Option("--via", help="Cable, network, or the board itself.")] = Via.JTAG,
    host: Annotated[str | None, typer.Option("--host", metavar="USER@BOARD", help="The board, for --via ssh.")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Load the device tree overlay: UIO device and buffer.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps; write and run nothing.")] = False,
) -> None:
    """Program a board, step by step; a step that fails is named with its remedy.

    Example: `vta board flash pynq-z1 build/z1 --via ssh --host xilinx@pynq`
    """
    from vta_boards.board import find_board
    from vta_boards.flash import flash as program

    build = program(find_board(name), folder, via, host=host, with_overlay=overlay, dry_run=dry_run, report=typer.echo)
    if not dry_run:
        print_done(f"{build.board.name} holds configuration {build.config.name} ({build.config.fingerprint_hex})")
