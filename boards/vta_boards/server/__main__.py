"""``python -m vta_boards.server``: serves the device of the board that it runs on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vta_arch.errors import VTAError
from vta_arch.presets import load_config

from .command import add_options, options_of, serve
from .registry import find, names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vta_boards.server", description=__doc__)
    parser.add_argument("--device", required=True, metavar="NAME", help=f"one of: {', '.join(names()) or 'none yet'}")
    parser.add_argument("--config", "-c", default="pynq-z1", metavar="NAME|FILE", help="configuration of the device")
    add_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; a mistake is one line on stderr and status 1."""
    chosen = _parser().parse_args(arguments)
    try:
        serve(find(chosen.device), load_config(chosen.config), options_of(chosen), chosen.device)
    except VTAError as error:
        print(f"vta: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
