"""``python -m vta_boards.server``: serves the device of the board that it runs on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from vta_arch.errors import VTAError
from vta_arch.presets import load_config

from .command import HELP, ServeOptions, serve
from .registry import find, names

_TYPES = {"int": int, "float": float, "str": str, "Path | None": Path}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vta_boards.server", description=__doc__)
    parser.add_argument("--device", required=True, metavar="NAME", help=f"one of: {', '.join(names()) or 'none yet'}")
    parser.add_argument("--config", "-c", default="pynq-z1", metavar="NAME|FILE", help="configuration of the device")
    for item in fields(ServeOptions):
        option, kind = "--" + item.name.replace("_", "-"), _TYPES[str(item.type)]
        shown = "" if item.default is None else f" (default: {item.default})"
        parser.add_argument(option, type=kind, default=item.default, help=HELP[item.name] + shown)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; a mistake is one line on stderr and status 1."""
    options = vars(_parser().parse_args(arguments))
    device, config = options.pop("device"), options.pop("config")
    try:
        serve(find(device), load_config(config), ServeOptions(**options), device)
    except VTAError as error:
        print(f"vta: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
