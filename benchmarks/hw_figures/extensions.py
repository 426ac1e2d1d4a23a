"""What the extensions add: requantization and depthwise steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, depthwise, load
from vta_arch.isa import AluOp, Memory

from .bench import SHARE, Bench, Figure, repeated

KERNEL = 3
WIDTH = 14
"""Outputs in a row of the depthwise layer."""


def requant_figures(bench: Bench) -> Iterator[Figure]:
    """STORE with requantization against the bus, and the ALU operation against the requantizer's lanes."""
    cfg = bench.cfg
    if "requant" not in cfg.extensions:
        return
    out = bench.contiguous(Memory.OUT, requant=1, req_index=1)
    beats = bench.beats(Memory.OUT, out["x_size"])
    name = f"requantized, {out['x_size'] * cfg.out_elem_bytes:,} B contiguous, one after the other"
    lanes = min(1.0, cfg.requant_width * cfg.inp_width / cfg.axi_data_width)
    yield Figure("STORE", name, beats / bench.slope(repeated(out)), SHARE, lanes, 0.95 * lanes)

    parameters = load(cfg, Memory.REQ, y_size=1, x_size=min(16, cfg.req_depth), x_stride=1)
    per_vector = cfg.batch * cfg.block_out // cfg.requant_width
    vectors = min(64, cfg.acc_depth // 2)
    loop = {"uop_end": 1, "iter_in": vectors, "dst_factor_in": 1, "use_imm": 1, "imm": 1}
    setup = [*bench.with_uops([(0, 0, 0)]), parameters]
    cycles = bench.slope(lambda n: [*setup, alu(cfg, AluOp.REQ, iter_out=n, **loop)]) / vectors
    yield Figure("ALU", "REQ", cycles, "cycles a vector", per_vector, per_vector)


def _rows(cfg: VTAConfig, table: list[Insn], loop: dict[str, int]) -> Callable[[int], list[Insn]]:
    return lambda n: [*table, depthwise(cfg, iter_out=n, **loop)]


def depthwise_figures(bench: Bench) -> Iterator[Figure]:
    """A 3x3 depthwise layer: rows of 14 output vectors, with stride 1 and 2."""
    cfg = bench.cfg
    if "depthwise" not in cfg.extensions:
        return
    taps, outputs = cfg.depthwise_taps, cfg.depthwise_outputs
    for stride, reach in ((1, 2), (2, 4)):
        reads = -(-((outputs - 1) * stride + KERNEL) // taps)
        pitch = stride * WIDTH + KERNEL - 1
        uops = [(0, row * pitch + read * taps, 0) for row in range(KERNEL) for read in range(reads)]
        most = min(8, (cfg.acc_depth // 2 - 1) // WIDTH, (cfg.inp_depth - taps - KERNEL * pitch) // (stride * pitch))
        table = bench.with_uops(uops)
        loop = {
            "uop_end": len(uops),
            "iter_in": WIDTH // outputs,
            "dst_factor_in": outputs,
            "dst_factor_out": WIDTH,
            "src_factor_in": outputs * stride,
            "src_factor_out": stride * pitch,
            "reset": 1,
            **bench.declared,
        }
        cycles = bench.slope(_rows(cfg, table, loop), 1, most)
        ideal = len(uops) / outputs
        bar = reach if outputs > 1 else None
        yield Figure("DEPTHWISE", f"3x3, stride {stride}", cycles / WIDTH, "cycles a vector", ideal, bar)
