"""Steps that other programs carry out: shown first, bounded in time, named with a remedy when they fail."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vta_arch.errors import BoardError

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
        return f"{self.name}: {shlex.join(self.command)}"

    def run(self) -> str:
        """Run it; what it printed. Raises BoardError naming the step, the reason and the remedy."""
        status, output, errors = self._finish()
        if status:
            lines = (errors or output).strip().splitlines()
            reason = lines[-1] if lines else f"exit status {status}"
            raise BoardError(f"step '{self.name}' failed: {reason}; {self.remedy}")
        return output

    def succeeds(self) -> bool:
        """Whether the command ends well, for a question instead of an action. Raises BoardError when it cannot run."""
        return not self._finish()[0]

    def _finish(self) -> tuple[int, str, str]:
        try:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            raise BoardError(f"step '{self.name}' failed: there is no {self.command[0]}; {self.remedy}") from None
        except OSError as error:
            reason = f"{self.command[0]}: {error.strerror}"
            raise BoardError(f"step '{self.name}' failed: {reason}; {self.remedy}") from None
        try:
            output, errors = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise BoardError(
                f"step '{self.name}' failed: it did not end within {self.timeout:g} s; {self.remedy}"
            ) from None
        finally:
            _end(process)
        return process.returncode, output, errors


def _end(process: subprocess.Popen[str]) -> None:
    """End a command that still runs, with what it started; its pipes are closed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def run_all(steps: Sequence[Step], report: Report, *, dry_run: bool) -> None:
    """Show each step, then run it unless this is a dry run. Raises BoardError at the first that fails."""
    for step in steps:
        report(step.shown)
        if not dry_run:
            step.run()
