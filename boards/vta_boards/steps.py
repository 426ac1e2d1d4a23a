"""Steps that other programs carry out: shown first, bounded in time, named with a remedy when they fail."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vta_arch.errors import BoardError

from .tool import run_lines

Report = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A command, what it is for, and what a person does when it fails."""

    name: str
    command: tuple[str, ...]
    remedy: str
    timeout: float = 60.0
    """Seconds that it may take."""

    @property
    def shown(self) -> str:
        """One line that a shell would take."""
        return f"{self.name}: {' '.join(map(_quoted, self.command))}"

    def run(self) -> str:
        """Run it; what it printed. Raises BoardError naming the step, the reason and the remedy."""
        status, lines = self._finish()
        if status:
            raise self._failure(lines[-1] if lines else f"exit status {status}")
        return "\n".join(lines)

    def _finish(self) -> tuple[int, list[str]]:
        """Exit status, and the lines that are not empty."""
        if shutil.which(self.command[0]) is None:
            raise self._failure(f"there is no {self.command[0]}")
        lines: list[str] = []
        try:
            status = run_lines(self.command, Path.cwd(), timeout=self.timeout, line=lines.append)
        except OSError as error:
            raise self._failure(f"{self.command[0]}: {error.strerror}") from None
        except BoardError:
            raise self._failure(f"it did not end within {self.timeout:g} s") from None
        return status, [line.strip() for line in lines if line.strip()]

    def _failure(self, reason: str) -> BoardError:
        return BoardError(f"step '{self.name}' failed: {reason}; {self.remedy}")


def _quoted(text: str) -> str:
    """A word as a shell takes it; with double quotes where single ones would have to be spelt out."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def run_all(steps: Sequence[Step], report: Report, *, dry_run: bool) -> None:
    """Show each step, then run it unless this is a dry run. Raises BoardError at the first that fails."""
    for step in steps:
        report(step.shown)
        if not dry_run:
            step.run()
