"""Speed of the accelerator's units in clock cycles, measured on its RTL with the reference memory.

    python benchmarks/hw.py [--config NAME] [--json FILE]

Every figure is a difference of two runs of small instruction streams that differ in one count, so that launch,
fetch and pipeline fill cancel; figures called "alone" are of a single instruction, its latency included. Beats are
those of the data, not of the instruction fetch. The memory: 40 cycles' read latency, one beat a cycle, 16 reads open.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from vta_app.output import print_table, stderr, write_json
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, gemm, load, store
from vta_arch.isa import AluOp, Memory, alu_ops, memory_elem_bytes, sram_depth
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_runtime.device import check
from vta_sim.rtl import RtlDevice

INSNS, UOPS, DATA = 0x10000, 0x100000, 0x200000
BASES = dict.fromkeys((Memory.WGT, Memory.INP, Memory.ACC), DATA) | {Memory.UOP: UOPS, Memory.OUT: 0x800000}
LONG, ROW = 4096, 64
"""Bytes of a long transfer, and of a row of a 2-D one."""
FEW, MANY = 4, 12
"""Counts of the two runs whose difference is taken."""
STEPS = 64
"""Steps of each GEMM in a chain."""
LOADED = (Memory.INP, Memory.WGT, Memory.UOP, Memory.ACC, Memory.ACC_8BIT)
MAX_CYCLES = 5_000_000


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``reach`` is a lower bound when the ideal is a share of the bus, else an upper one."""

    group: str
    what: str
    value: float
    unit: str
    ideal: float
    reach: float | None

    @property
    def reached(self) -> bool | None:
        if self.reach is None:
            return None
        return self.value >= self.reach if self.unit == SHARE else self.value <= self.reach


SHARE = "of bus beats"


class Bench:
    """Runs streams on the RTL of a configuration and counts cycles."""

    def __init__(self, cfg: VTAConfig, device: RtlDevice) -> None:
        self.cfg, self._device = cfg, device
        self.bus_bytes = cfg.axi_data_width // 8
        self.declared = {"one_bank": 1} if "overlap" in cfg.extensions else {}

    def cycles(self, insns: list[Insn]) -> int:
        """Cycles of the run of a stream, from its start to its end."""
        stream = [*insns, finish(self.cfg)]
        self._device.write(INSNS, encode_stream(self.cfg, stream))
        result = self._device.launch(INSNS, len(stream), BASES)
        check(result)
        if result.cycles is None:
            raise RuntimeError("the RTL device counted no cycles")
        return result.cycles

    def slope(self, stream: Callable[[int], list[Insn]], few: int = FEW, many: int = MANY) -> float:
        """Cycles that each further unit of ``stream``'s argument costs."""
        return (self.cycles(stream(many)) - self.cycles(stream(few))) / (many - few)

    def with_uops(self, table: list[tuple[int, int, int]]) -> list[Insn]:
        """Puts micro-ops into memory; the LOAD that fetches them to index 0."""
        self._device.write(UOPS, encode_uops(self.cfg, table).tobytes())
        return [load(self.cfg, Memory.UOP, y_size=1, x_size=len(table), x_stride=len(table))]

    # Transfers -----------------------------------------------------------------------------
    def elements(self, memory: Memory, size: int) -> int:
        """Elements of ``memory`` in ``size`` bytes, at least one and at most what the scratchpad holds."""
        return max(1, min(size // memory_elem_bytes(self.cfg, memory), sram_depth(self.cfg, memory)))

    def beats(self, memory: Memory, elements: int) -> float:
        """Bus beats of that many contiguous elements."""
        return elements * memory_elem_bytes(self.cfg, memory) / self.bus_bytes

    def contiguous(self, memory: Memory, size: int = LONG, **fields: int) -> Insn:
        """LOAD, or STORE for OUT, of one row of ``size`` bytes."""
        count = self.elements(memory, size)
        fields |= {"y_size": 1, "x_size": count, "x_stride": count}
        return store(self.cfg, **fields) if memory == Memory.OUT else load(self.cfg, memory, **fields)

    def rows(self, memory: Memory, rows: int) -> Insn:
        """A transfer of rows of ROW bytes, every other one in memory."""
        count = self.elements(memory, ROW)
        fields = {"y_size": rows, "x_size": count, "x_stride": 2 * count}
        return store(self.cfg, **fields) if memory == Memory.OUT else load(self.cfg, memory, **fields)

    def row_stream(self, memory: Memory) -> Callable[[int], list[Insn]]:
        """A stream of one transfer of n rows."""
        return lambda n: [self.rows(memory, n)]


def repeated(*insns: Insn) -> Callable[[int], list[Insn]]:
    """A stream of n times these instructions."""
    return lambda n: list(insns) * n


def gemm_figures(bench: Bench) -> Iterator[Figure]:
    """Cycles a micro-op, and between instructions."""
    cfg = bench.cfg
    count = min(128, cfg.uop_depth, cfg.acc_depth, cfg.inp_depth)
    table = bench.with_uops([(n, n, n % cfg.wgt_depth) for n in range(count)])

    def figure(what: str, value: float) -> Figure:
        return Figure("GEMM", what, value, "cycles a uop", 1, 1)

    plain = bench.slope(lambda n: [*table, gemm(cfg, uop_end=n, iter_out=1, iter_in=1)], count // 2, count)
    yield figure("one loop of many uops", plain)
    ends = bench.slope(lambda n: [*table, gemm(cfg, uop_end=1, iter_out=n, iter_in=1, dst_factor_out=1)], 8, 40)
    yield figure("a loop end at every uop", ends)
    same = bench.with_uops([(0, n, n) for n in range(8)])
    hits = bench.slope(lambda n: [*same, gemm(cfg, uop_end=8, iter_out=n, iter_in=1)], 8, 40) / 8
    yield figure("every uop on one accumulator", hits)

    def chain(declared: dict[str, int]) -> float:
        step = gemm(cfg, uop_end=8, iter_out=STEPS // 8, iter_in=1, **declared)
        return bench.slope(lambda n: [*same, *[step] * n]) - STEPS

    yield Figure("GEMM", "idle between two instructions", chain({}), "cycles", 0, 2)
    if bench.declared:
        yield Figure("GEMM", "idle between two of one bank", chain(bench.declared), "cycles", 0, 2)


def _alu_stream(cfg: VTAConfig, op: AluOp, table: list[Insn], loop: dict[str, int]) -> Callable[[int], list[Insn]]:
    return lambda n: [*table, alu(cfg, op, iter_out=n, **loop)]


def alu_figures(bench: Bench) -> Iterator[Figure]:
    """Cycles a vector of every operation; MUL takes its multipliers in turns."""
    cfg = bench.cfg
    half = cfg.acc_depth // 2
    vectors = min(64, half // 2)
    operands: dict[str, tuple[int, dict[str, int], int]] = {
        "immediate": (0, {"use_imm": 1, "imm": 1}, 1),
        "tensor-tensor across banks": (half, {"src_factor_in": 1}, 1),
        "tensor-tensor in one bank": (half // 2, {"src_factor_in": 1}, 2),
    }
    for name, (source, fields, ideal) in operands.items():
        table = bench.with_uops([(0, source, 0)])
        loop = {"uop_end": 1, "iter_in": vectors, "dst_factor_in": 1, **fields}
        for op in alu_ops(cfg):
            cycles = bench.slope(_alu_stream(cfg, op, table, loop)) / vectors
            reach = 4 if op == AluOp.MUL else ideal
            yield Figure("ALU", f"{op.name} {name}", cycles, "cycles a vector", ideal, reach)


def transfer_figures(bench: Bench) -> Iterator[Figure]:
    """Share of the bus that LOAD and STORE reach."""
    cfg = bench.cfg
    for memory in (*LOADED, Memory.OUT):
        group = "STORE" if memory == Memory.OUT else f"LOAD {memory.name}"
        elem = memory_elem_bytes(cfg, memory)
        count = bench.elements(memory, LONG)
        name, beats = f"{count * elem:,} B contiguous", bench.beats(memory, count)
        empty = store(cfg) if memory == Memory.OUT else load(cfg, memory)
        single = bench.cycles([bench.contiguous(memory)]) - bench.cycles([empty])
        yield Figure(group, f"{name}, alone", beats / single, SHARE, 1, None)
        chained = bench.slope(repeated(bench.contiguous(memory)))
        yield Figure(group, f"{name}, one after the other", beats / chained, SHARE, 1, 0.95)
        short = bench.elements(memory, ROW)
        most = min(64, sram_depth(cfg, memory) // short)
        row = bench.slope(bench.row_stream(memory), max(1, most // 4), most)
        reach = None if memory == Memory.OUT else 0.85
        yield Figure(group, f"rows of {short * elem} B", bench.beats(memory, short) / row, SHARE, 1, reach)


def concurrency_figures(bench: Bench) -> Iterator[Figure]:
    """Transfers side by side."""
    inp = bench.contiguous(Memory.INP)
    inp_beats = bench.beats(Memory.INP, inp["x_size"])
    for memory in (Memory.WGT, Memory.UOP, Memory.ACC):
        # As many beats of both: several loads of the smaller memory.
        other = bench.contiguous(memory)
        beats = inp_beats + bench.beats(memory, other["x_size"])
        both = bench.slope(repeated(inp, other))
        yield Figure("side by side", f"LOAD INP and {memory.name}, all beats", beats / both, SHARE, 1, 0.95)
    yield Figure("side by side", "LOAD UOP among LOAD INP, its part", fair_share(bench), SHARE, 0.5, 0.4)

    out = bench.contiguous(Memory.OUT)
    both = bench.slope(repeated(inp, out))
    reads = bench.slope(repeated(inp))
    writes = bench.slope(repeated(out))
    most = max(inp_beats, bench.beats(Memory.OUT, out["x_size"]))
    yield Figure("side by side", "LOAD INP and STORE, the longer of the two", most / both, SHARE, 1, 0.95)
    yield Figure("side by side", "the same, cycles above the slower alone", both - max(reads, writes), "cycles", 0, 16)


def fair_share(bench: Bench) -> float:
    """Share of the bus that a LOAD UOP gets while LOAD INP would take all of it.

    A GEMM that follows it outlasts the loads, so that the run ends a known time after the LOAD UOP.
    """
    cfg = bench.cfg
    inp, uops = bench.contiguous(Memory.INP), bench.contiguous(Memory.UOP)
    beats = bench.beats(Memory.UOP, uops["x_size"])
    loads = max(4, int(4 * beats / bench.beats(Memory.INP, inp["x_size"])))
    long = gemm(cfg, reset=1, uop_end=1, iter_out=16, iter_in=int(min(4 * loads * LONG / bench.bus_bytes, 1 << 13)))
    return float(beats / (bench.cycles([*[inp] * loads, uops, long]) - bench.cycles([long])))


def measure(cfg: VTAConfig) -> list[Figure]:
    """All figures of a configuration. Builds its simulator if need be."""
    figures: list[Figure] = []
    with RtlDevice(cfg, max_cycles=MAX_CYCLES, progress=_progress) as device:
        device.write(DATA, np.zeros(1 << 20, np.uint8))
        bench = Bench(cfg, device)
        for part in (gemm_figures, alu_figures, transfer_figures, concurrency_figures):
            figures += part(bench)
    return figures


def _progress(stage: str, done: int, total: int) -> None:
    stderr().print(f"  {stage} {done}/{total}")


def shown(figure: Figure) -> tuple[str, ...]:
    """The cells of a figure."""
    percent = figure.unit == SHARE

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}" if percent else f"{value:.2f}"

    verdict = {True: "reached", False: "MISSED", None: ""}[figure.reached]
    return (
        figure.group,
        figure.what,
        number(figure.value),
        figure.unit,
        number(figure.ideal),
        number(figure.reach),
        verdict,
    )


def main() -> None:
    """Measure, print one table, and write JSON."""
    parser = argparse.ArgumentParser(description="Speed of the accelerator's units, in cycles of its RTL.")
    parser.add_argument("--config", default=DEFAULT_PRESET, help="preset or TOML file (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config)
    figures = measure(cfg)
    numbers = ["measured", "ideal", "reach"]
    print_table(["unit", "what", "measured", "", "ideal", "reach", ""], [shown(f) for f in figures], right=numbers)
    if arguments.json:
        content = [asdict(figure) | {"reached": figure.reached} for figure in figures]
        write_json(arguments.json, {"config": cfg.name, "figures": content})


if __name__ == "__main__":
    main()
