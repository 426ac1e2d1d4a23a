"""``vta export``: a program in a form for other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from vta_arch.program import Program
from vta_boards.bare_metal.border import Border
from vta_runtime.array_arguments import read_inputs

from ..options import JsonFile
from ..output import print_done, write_json

app = typer.Typer(help="A program in a form for other machines.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A program in a form for other machines."""


@app.command("c")
def export_c(
    program: Annotated[Path, typer.Argument(metavar="P.vta", help="Compiled program.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")],
    input_file: Annotated[
        str | None, typer.Option("--input", metavar="X.npz[:key]", help="Images for the example (default: zeros).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Images of it that the example gets.")] = 1,
    integers: Annotated[
        Border,
        typer.Option("--integers", help="Leave the CPU's steps at these ends out: take and give its integers there."),
    ] = Border.NONE,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the program's files and symbols.")
    ] = "program",
    json: JsonFile = None,
) -> None:
    """Write a program as C99 for a processor without an operating system: constants, driver, border, example, Makefile.

    The C gives the same bytes as `vta run`. An operator on the CPU that cannot is refused by name.

    Example: `vta export c build/digits.vta --input build/digits/test.npz -o build/digits_c`
    """
    from vta_boards.bare_metal.border import cut
    from vta_boards.bare_metal.export import export_c as export_program

    loaded = Program.load(program)
    samples = None
    if input_file is not None:
        taken = cut(loaded, integers).inputs
        samples = {key: value[:limit] for key, value in read_inputs(input_file, taken).items()}
    exported = export_program(loaded, output, name=name, border=integers, samples=samples)
    if json is not None:
        write_json(json, exported.to_dict())
    print_done(
        f"{output}: {len(exported.files)} files; arena {exported.arena_bytes:,} B, constants "
        f"{exported.constant_bytes:,} B, other tensors {exported.buffer_bytes:,} B"
    )
