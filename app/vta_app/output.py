"""What the commands print: tables on stdout, progress and errors on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from vta_arch.files import write_text

PLAIN_WIDTH = 1000
"""Columns of a table that goes to a file or pipe: wide enough never to cut a cell."""

ProgressCallback = Callable[[str, int, int], None]
"""Called with a stage's name, the steps done and the steps in all; 0 while nobody knows how many."""


def stdout() -> Console:
    """Console of results, as wide as the terminal."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def stderr() -> Console:
    """Console of progress and errors."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> int:
    """Print ``message`` as the one line that a mistake ends in; returns the exit status, 1."""
    print(f"vta: error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def print_json(value: object) -> None:
    """Print a value as JSON for scripts."""
    print(json.dumps(value, indent=2))


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all. Raises DataError."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table with headings; the columns named in ``right`` are aligned to the right."""
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(Text(str(cell)) for cell in row))
    return result


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table on stdout."""
    stdout().print(table(columns, rows, right=right))


def print_done(message: str) -> None:
    """Tell on stderr what was written; scripts read stdout only."""
    print(message, file=sys.stderr)


@contextlib.contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """A callback that draws one bar a stage on stderr; draws nothing when that is no terminal."""
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total or None)
            progress.update(tasks[stage], completed=done, total=total or None)

        yield report
