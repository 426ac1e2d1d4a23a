"""``vta disasm``: a program or a raw instruction stream as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..listing import listing
from ..options import ConfigOrNone


def disasm(
    file: Annotated[Path, typer.Argument(metavar="P.vta|instructions.bin", help="Program or raw instructions.")],
    config: ConfigOrNone = None,
) -> None:
    """List the instructions of a program or of a raw stream, one a line.

    A raw stream is decoded for `--config` (default pynq-z1); a program knows its own configuration.

    Example: `vta disasm build/digits.vta`
    """
    for line in listing(file, config):
        print(line)
