"""A flow's run: its script started in the build folder, its steps shown, its failure told in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vta_arch.errors import BoardError

from .tool import find_tool, run_lines

_MARK = "vta: "
_ERROR = "error: "
_STEP = re.compile(r"step (\d+) of (\d+): (.*)")

Progress = Callable[[str, int, int], None]
"""Called with a step's name, the steps done and all steps."""


@dataclass(frozen=True)
class Flow:
    """A way from a build folder to a bitstream: the programs it needs, the command, and where its log is."""

    name: str
    tools: tuple[str, ...]
    command: tuple[str, ...]
    log: str
    remedy: str
    """What a person without the tools does."""

    def missing(self) -> str:
        """The first tool that is not on PATH with its remedy, or ''."""
        try:
            for tool in self.tools:
                find_tool(tool, self.remedy)
        except BoardError as error:
            return str(error)
        return ""

    def run(self, folder: Path, timeout: float, progress: Progress) -> list[str]:
        """Run in ``folder``; what the script told, line by line.

        Raises BoardError when a tool is missing, the script fails or takes more than ``timeout`` seconds, or timing
        is not met.
        """
        missing = self.missing()
        if missing:
            raise BoardError(missing)
        listener = _Listener(progress)
        status = run_lines(self.command, folder, timeout=timeout, line=listener)
        failures = [text.removeprefix(_ERROR) for text in listener.told if text.startswith(_ERROR)]
        if failures:
            raise BoardError(f"{self.name}: {failures[0]}")
        if status or not any(text.startswith("done: ") for text in listener.told):
            said = f": {listener.last}" if listener.last else ""
            raise BoardError(
                f"{self.name} ended with status {status} in {listener.step}{said}; see {folder / self.log}"
            )
        return listener.told


class _Listener:
    """Takes a script's output line by line."""

    def __init__(self, progress: Progress) -> None:
        self.told: list[str] = []
        self.step = "its first step"
        self.last = ""
        self._progress = progress

    def __call__(self, line: str) -> None:
        if not line.startswith(_MARK):
            self.last = line.strip() or self.last
            return
        text = line.removeprefix(_MARK)
        self.told.append(text)
        found = _STEP.fullmatch(text)
        if found:
            self.step = found[3]
            self._progress(found[3], int(found[1]) - 1, int(found[2]))
