"""Line and toggle coverage of the RTL under random streams: ``python -m vta_sim.coverage``.

A line point is a branch of the generated Verilog; a toggle point is a bit going up or down. Bits that cannot
toggle because of the configuration (constant AXI fields, high address bits) count as not covered. Branches that no
stream ran are listed by the line of the hardware description that they come from.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

from .random_configs import named_configs
from .rtl import RtlDevice
from .stream_soak import MAX_CYCLES, MEMORIES, make_case

CONFIGS = ("tiny", "int4", "batch2", "x-block16")
KINDS = ("line", "toggle")
SHOWN_SOURCES = 60
_WAKE_UP = "verilog_backend"
_SOURCE = re.compile(r'src = "([^"|]*?):(\d+)')
_ASSIGN = re.compile(r"\s*assign\s+(\S+)")
_SIGNAL = re.compile(r"\s*(?:(?:input|output|wire|reg|signed|\[\d+:\d+\])\s+)+(\S+?)\s*[;=]")


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

    def add(self, point: Point, count: int) -> None:
        """Count hits, but not of what the Verilog writer adds to wake processes up."""
        if point.kind != "line" or _WAKE_UP not in self.verilog[point.line - 1]:
            self.hits[point] += count

    def uncovered_sources(self) -> dict[str, list[str]]:
        """Source line ("file.py:12") -> modules in which a branch that comes from it never ran."""
        found: dict[str, set[str]] = defaultdict(set)
        for point, count in self.hits.items():
            if point.kind == "line" and not count:
                found[self._source(point.line)].add(point.module)
        return {source: sorted(modules) for source, modules in sorted(found.items())}

    def _source(self, line: int) -> str:
        """The source of the condition in a Verilog line, else that text."""
        text = self.verilog[line - 1].strip()
        match = _SOURCE.search(text)
        if match:
            return f"{Path(match[1]).name}:{match[2]}"
        names = re.findall(r"\\\S+|[A-Za-z_]\w*", text)
        for number in range(line - 1, -1, -1):
            if self.verilog[number].startswith("module "):
                return next((source for name in names if (source := self._sources.get((number, name)))), text)
        return text

    @cached_property
    def _sources(self) -> dict[tuple[int, str], str]:
        """(first line of the module, signal) -> source line of the signal."""
        found: dict[tuple[int, str], str] = {}
        module, source = 0, ""
        for number, text in enumerate(self.verilog):
            if text.startswith("module "):
                module = number
            match = _SOURCE.search(text)
            signal = _SIGNAL.match(text)
            assigned = _ASSIGN.match(text)
            if match and assigned:
                found.setdefault((module, assigned[1]), f"{Path(match[1]).name}:{match[2]}")
            elif match:
                source = f"{Path(match[1]).name}:{match[2]}"
            elif signal:
                if source:
                    found[module, signal[1]] = source
                source = ""
        return found


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


def annotated_verilog(cfg: VTAConfig) -> str:
    """The accelerator's Verilog with the source line of every statement."""
    from amaranth.back import verilog
    from vta_hw.top import VTATop
    from vta_hw.verilog import TOP_NAME

    text: str = verilog.convert(VTATop(cfg), name=TOP_NAME, emit_src=True)
    return text


def measure(cfg: VTAConfig, streams: int, seed: int) -> Report:
    """Run ``streams`` random streams, shared out among the memory models."""
    text = annotated_verilog(cfg)
    report = Report(cfg.name, text.splitlines())
    with tempfile.TemporaryDirectory() as folder:
        for part, memory in enumerate(MEMORIES):
            data = Path(folder) / f"{part}.dat"
            with CoverageDevice(cfg, memory, max_cycles=MAX_CYCLES, verilog=text) as device:
                for number in range(part, streams, len(MEMORIES)):
                    make_case(cfg, seed, number).run(device)
                device.write_coverage(data)
            for point, count in read_points(data.read_text(encoding="latin-1")):
                report.add(point, count)
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
        sources = report.uncovered_sources()
        print(f"  {len(sources)} source lines have branches that never ran{':' if sources else ''}")
        for source, modules in list(sources.items())[:SHOWN_SOURCES]:
            print(f"    {source:60}{', '.join(modules[:2])}{' ...' if len(modules) > 2 else ''}")
    values = {
        "streams": options.streams,
        "configurations": summary(reports),
        "uncovered_sources": {report.config: report.uncovered_sources() for report in reports},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    part = options.json.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    part.replace(options.json)
    print(f"written: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
