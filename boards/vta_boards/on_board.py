"""``vta-board``: what a person types on the board itself, where only the runtime is installed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from vta_arch.errors import VTAError

from . import on_board_run, on_board_serve
from .board import BOARDS, find_board
from .flash import flash
from .via import Via

TERMINATED, INTERRUPTED = 143, 130
"""Exit status after SIGTERM and after Ctrl-C, as a shell reports them."""


def main(arguments: Sequence[str] | None = None, *, root: Path = Path("/")) -> int:
    """Run the command line; a mistake is one line on stderr and exit status 1. ``root`` stands for ``/``."""
    chosen = _parser().parse_args(arguments)
    # A killed run still resets the accelerator on its way out.
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        if chosen.command == "flash":
            board = find_board(chosen.board)
            flash(board, chosen.folder, Via.LOCAL, with_overlay=chosen.overlay, dry_run=chosen.dry_run)
        elif chosen.command == "serve":
            on_board_serve.serve_board(chosen, root)
        else:
            on_board_run.run_program(chosen, root)
    except VTAError as error:
        print(f"vta: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except MemoryError:
        print("vta: error: not enough memory for this program and data; run fewer images (--limit)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vta-board", description="The VTA accelerator, from the board's own Linux.")
    commands = parser.add_subparsers(dest="command", required=True)
    on_board_run.add_arguments(commands.add_parser("run", help="run a program over images"))
    on_board_serve.add_arguments(commands.add_parser("serve", help="let others run programs here, over HTTP"))
    program = commands.add_parser("flash", help="program this board with a build")
    program.add_argument("board", choices=list(BOARDS), metavar="NAME", help=", ".join(BOARDS))
    program.add_argument("folder", type=Path, metavar="DIR")
    program.add_argument("--no-overlay", dest="overlay", action="store_false", help="load no device tree overlay")
    program.add_argument("--dry-run", action="store_true", help="show the steps only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
