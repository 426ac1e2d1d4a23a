"""Programs that a build starts: found on PATH, read line by line, bounded in time, ended with all that they started."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vta_arch.errors import BoardError


def find_tool(name: str, remedy: str) -> str:
    """Path of a program. Raises BoardError with the way out when PATH has none."""
    found = shutil.which(name)
    if found is None:
        raise BoardError(f"{name} is not on PATH; {remedy}")
    return found


def run_lines(command: Sequence[str], folder: Path, *, timeout: float, line: Callable[[str], None]) -> int:
    """Run ``command`` in ``folder``, giving ``line`` each line of its output; its exit status.

    Raises BoardError when it takes more than ``timeout`` seconds: it and its children are ended then, as they are
    when the wait is interrupted.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    deadline = time.monotonic() + timeout
    try:
        while (text := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            line(text.rstrip("\n"))
        return process.wait(timeout=max(1.0, deadline - time.monotonic()))
    except (queue.Empty, subprocess.TimeoutExpired):
        raise BoardError(f"{command[0]}: not done after {timeout:g} s; raise --timeout if it needs more") from None
    finally:
        _end(process)


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for text in process.stdout:
        lines.put(text)
    lines.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
