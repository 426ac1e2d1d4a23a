"""GEMM and ALU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, gemm
from vta_arch.isa import AluOp

from .bench import Bench, Figure

BASE_OPS = (AluOp.MIN, AluOp.MAX, AluOp.ADD, AluOp.SHR, AluOp.MUL)
STEPS = 64
"""Steps of each GEMM in a chain."""


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
        for op in BASE_OPS:
            cycles = bench.slope(_alu_stream(cfg, op, table, loop)) / vectors
            reach = 4 if op == AluOp.MUL else ideal
            yield Figure("ALU", f"{op.name} {name}", cycles, "cycles a vector", ideal, reach)
