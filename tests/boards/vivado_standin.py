"""A stand-in for Vivado: runs its Tcl scripts in a real interpreter, tclsh or the one within Python."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

COMMANDS = Path(__file__).with_suffix(".tcl")


def has_tcl() -> bool:
    """Whether there is a Tcl interpreter."""
    if shutil.which("tclsh"):
        return True
    try:
        import tkinter
    except ImportError:
        return False
    return tkinter.TclVersion >= 8.5


def install(folder: Path) -> Path:
    """Put a ``vivado`` into ``folder``, for PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / "vivado"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def commands(folder: Path) -> list[list[str]]:
    """What the scripts told the stand-in in ``folder``, command by command."""
    text = (folder / "standin.log").read_text(encoding="utf-8")
    return [line.split("\x1f") for line in text.splitlines()]


def _run(script: str) -> int:
    shell = shutil.which("tclsh")
    if shell is not None:
        program = f"source {{{COMMANDS}}}\nset code [catch {{source {script}}} message]\n"
        program += 'if {$code} {puts "ERROR: $message"; exit 1}\nexit 0\n'
        return subprocess.run([shell], input=program, text=True, timeout=120).returncode
    import tkinter

    interpreter = tkinter.Tcl()
    status: list[int] = []

    def leave(code: str = "0") -> None:
        status.append(int(code))
        raise SystemExit(int(code))

    interpreter.createcommand("exit", leave)
    interpreter.eval(f"source {{{COMMANDS}}}")
    try:
        interpreter.eval(f"source {script}")
    except tkinter.TclError as error:
        print(f"ERROR: {error}")
        return 1
    return status[0] if status else 0


if __name__ == "__main__":
    sys.exit(_run(sys.argv[sys.argv.index("-source") + 1]))
