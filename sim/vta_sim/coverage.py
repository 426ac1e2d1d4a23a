"""Line and toggle coverage of the RTL under random streams: ``python -m vta_sim.coverage``.

A line point is a branch of the generated Verilog; a toggle point is a bit going up or down. Bits that cannot
toggle because of the configuration (constant AXI fields, high address bits) count as not covered.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

from .build_cache import cached_verilog
from .random_configs import named_configs
from .rtl import RtlDevice
from .stream_soak import MAX_CYCLES, MEMORIES, make_case

CONFIGS = ("tiny", "int4", "batch2")
KINDS = ("line", "toggle")
SHOWN_LINES = 40


class CoverageDevice(RtlDevice):
    """An :class:`RtlDevice` that counts executed lines and toggled bits; slower."""

    coverage = True

    def write_coverage(self, path: Path) -> None:
        """Write Verilator's coverage data of this device so far."""
        function = self._library.vta_coverage_write
        function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_char_p]
        function(self._open(), str(path).encode())


@dataclass(frozen=True)
class Point:
    """One thing to cover: what kind, where, and what (a branch, or a bit and its direction)."""

    kind: str
    module: str
    line: int
    name: str


@dataclass
class Report:
    """How often each point of a configuration was hit, and its Verilog."""

    config: str
    verilog: list[str]
    hits: Counter[Point] = field(default_factory=Counter)

    def modules(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Module -> kind -> (covered points, points)."""
        table: dict[str, dict[str, tuple[int, int]]] = defaultdict(lambda: dict.fromkeys(KINDS, (0, 0)))
        for point, count in self.hits.items():
            covered, total = table[point.module][point.kind]
            table[point.module][point.kind] = (covered + bool(count), total + 1)
        return dict(table)

    def uncovered_lines(self) -> list[tuple[str, int, str]]:
        """(module, Verilog line, its text) of every branch that never ran."""
        points = {(p.module, p.line) for p, count in self.hits.items() if p.kind == "line" and not count}
        return [(module, line, self.verilog[line - 1].strip()) for module, line in sorted(points)]


def read_points(text: str) -> Iterable[tuple[Point, int]]:
    """The points of a coverage file of Verilator. Raises DeviceError for a line of another format."""
    for line in text.splitlines():
        if not line.startswith("C "):
            continue
        quoted, _, count = line[2:].rpartition(" ")
        parts = (part.partition("\x02") for part in quoted.strip("'").split("\x01") if part)
        values = {key: value for key, _, value in parts}
        kind, _, module = values.get("page", "").partition("/")
        if not kind.startswith("v_") or not count.isdigit():
            raise DeviceError(f"coverage data: cannot read {line[:80]!r}; another version of Verilator?")
        kind = "toggle" if kind == "v_toggle" else "line"
        yield Point(kind, module, int(values["l"]), values.get("o", "") + values.get("h", "")), int(count)


def measure(cfg: VTAConfig, streams: int, seed: int) -> Report:
    """Run ``streams`` random streams, shared out among the memory models."""
    report = Report(cfg.name, cached_verilog(cfg, None).splitlines())
    with tempfile.TemporaryDirectory() as folder:
        for part, memory in enumerate(MEMORIES):
            data = Path(folder) / f"{part}.dat"
            with CoverageDevice(cfg, memory, max_cycles=MAX_CYCLES) as device:
                for number in range(part, streams, len(MEMORIES)):
                    make_case(cfg, seed, number).run(device)
                device.write_coverage(data)
            for point, count in read_points(data.read_text(encoding="latin-1")):
                report.hits[point] += count
    return report


def summary(reports: Sequence[Report]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Configuration -> module -> kind -> covered, total and per cent; JSON values."""
    return {
        report.config: {
            module: {kind: _share(*counts) for kind, counts in kinds.items()}
            for module, kinds in sorted(report.modules().items())
        }
        for report in reports
    }


def _share(covered: int, total: int) -> dict[str, float]:
    return {"covered": covered, "total": total, "percent": round(100 * covered / total, 1) if total else 100.0}


def table(report: Report) -> str:
    """One line for each module, and one for all."""
    modules = report.modules()
    rows = [*sorted(modules.items()), ("all", _total(modules))]
    lines = [f"{report.config:36}{'lines':>18}{'toggles':>24}"]
    for module, kinds in rows:
        cells = (_share(*kinds[kind]) for kind in KINDS)
        shown = (f"{cell['covered']:>9,.0f}/{cell['total']:<6,.0f}{cell['percent']:>6}%" for cell in cells)
        lines.append(f"  {module:34}" + "".join(shown))
    return "\n".join(lines)


def _total(modules: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    return {
        kind: (sum(m[kind][0] for m in modules.values()), sum(m[kind][1] for m in modules.values())) for kind in KINDS
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    known = named_configs()
    parser = argparse.ArgumentParser(prog="python -m vta_sim.coverage", description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="streams for each configuration (default 200)")
    parser.add_argument("--config", action="append", choices=sorted(known), help=f"default {', '.join(CONFIGS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("build/coverage.json"), help="where the numbers go")
    options = parser.parse_args(arguments)
    reports = []
    for name in options.config or CONFIGS:
        report = measure(known[name], options.streams, options.seed)
        reports.append(report)
        print(table(report), flush=True)
        lines = report.uncovered_lines()
        print(f"  {len(lines)} lines never ran{':' if lines else ''}")
        for module, line, text in lines[:SHOWN_LINES]:
            print(f"    {module}:{line}: {text}")
    values = {
        "streams": options.streams,
        "configurations": summary(reports),
        "uncovered_lines": {report.config: report.uncovered_lines() for report in reports},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    part = options.json.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    part.replace(options.json)
    print(f"written: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
