"""``vta-board serve``: the accelerator of this board behind HTTP, see docs/serve.md."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.presets import load_config

from .board import Board
from .device_options import add_device_options, chosen_device
from .devices.board_device import BoardDevice
from .devices.opening import BoardOptions, DeviceKind, open_board
from .server import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser everything that can be chosen."""
    add_device_options(parser)
    parser.add_argument(
        "--config",
        "-c",
        required=True,
        metavar="config.json",
        help="configuration of the bitstream, as in its build folder",
    )
    command.add_options(parser)


def serve_board(chosen: argparse.Namespace, root: Path) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises VTAError when the board, the configuration or an option does not fit.

    A launch may take as long as the server gives a run, so that it is the server that ends one, with its own message.
    """
    cfg, options = load_config(chosen.config), command.options_of(chosen)
    kind, board, device = chosen_device(chosen, timeout=options.run_limit)
    command.serve(partial(_open, kind, board, device, root), cfg, options, f"{board.key} over {kind}")


def _open(kind: DeviceKind, board: Board, options: BoardOptions, root: Path, cfg: VTAConfig) -> BoardDevice:
    """The board's device; a module's function, because the server calls it in another process."""
    return open_board(kind, cfg, board, options, root=root)
