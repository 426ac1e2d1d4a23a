"""Options that several sub-commands share, and what their values mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from vta_arch.errors import DataError
from vta_arch.files import require_writable


def check_output(path: Path | None) -> Path | None:
    """Refuse a place that cannot be written before the work begins. Raises DataError."""
    if path is not None:
        require_writable(path)
    return path


Config = Annotated[
    str, typer.Option("--config", "-c", metavar="NAME|FILE", help="Preset, TOML file, or upstream's vta_config.json.")
]
ConfigOrNone = Annotated[
    str | None,
    typer.Option("--config", "-c", metavar="NAME|FILE", help="Configuration of a raw stream; must match a program's."),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help="Size of a symbolic batch dimension (default: the configuration's)."),
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1,3,32,32", help="Shape of the input NAME; may be given more than once."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", callback=check_output, help="File to write.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="F.json", callback=check_output, help="Write the result as JSON."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def parse_shapes(values: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """``["x=1,3,32,32"]`` -> ``{"x": (1, 3, 32, 32)}``; None when there are none. Raises DataError."""
    shapes = {}
    for text in values or []:
        name, equals, numbers = text.rpartition("=")
        parts = numbers.split(",")
        if not (name and equals) or not all(p.strip().isdecimal() and int(p) > 0 for p in parts):
            raise DataError(f"--shape {text}: must be NAME=D1,D2,... with whole numbers from 1, as in x=1,3,32,32")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes or None
