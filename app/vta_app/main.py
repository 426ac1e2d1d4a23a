"""Entry point of the ``vta`` command: registers the sub-commands and turns mistakes into one line."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException
from vta_arch.errors import VTAError

from . import __version__
from .commands import (
    bench,
    board,
    config,
    disasm,
    exec,
    explain,
    export,
    model,
    profile_cpu,
    quantize,
    run,
    sensitivity,
    serve,
    synth,
    tune,
    verilog,
)
from .commands import compile as compile_command
from .output import print_error

COLLECTED_AFTER = 100_000
"""New objects before Python looks for cycles among them: a compilation makes many, and none of them is in a cycle."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell reports it."""

app = typer.Typer(
    name="vta",
    help="From an ONNX network to the VTA accelerator: configure, quantize, compile, run, simulate.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vta {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


app.add_typer(config.app, name="config")
app.add_typer(board.app, name="board")
app.command("verilog")(verilog.verilog)
app.command("synth")(synth.synth)
app.command("model")(model.model)
app.command("quantize")(quantize.quantize)
app.command("sensitivity")(sensitivity.sensitivity)
app.command("bench")(bench.bench)
app.command("compile")(compile_command.compile)
app.command("explain")(explain.explain)
app.command("tune")(tune.tune)
app.command("profile-cpu")(profile_cpu.profile_cpu)
app.command("run")(run.run)
app.command("serve")(serve.serve)
app.command("exec")(exec.exec)
app.command("disasm")(disasm.disasm)
app.add_typer(export.app, name="export")


def main() -> None:
    """Run the command line; a mistake is one line on stderr and exit status 1, or 2 for a wrong command line."""
    gc.set_threshold(COLLECTED_AFTER)
    try:
        status = _invoke()
        sys.stdout.flush()
    except VTAError as error:
        status = print_error(str(error))
    except TyperException as error:
        print_error(_usage(error))
        status = error.exit_code
    except MemoryError:
        status = print_error("not enough memory for this network and data; run fewer images or a smaller --batch")
    except BrokenPipeError:
        status = _silence_stdout(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _silence_stdout(print_error(f"{where}{error.strerror or error}"))
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _invoke() -> int:
    try:
        finished = app(sys.argv[1:] or ["--help"], prog_name="vta", standalone_mode=False)
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    return finished if isinstance(finished, int) else 0


def _usage(error: TyperException) -> str:
    """What is wrong with a command line, and where the right one is described."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "vta"
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _silence_stdout(status: int) -> int:
    """Keep the interpreter from failing once more when it flushes a closed or full standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    main()
