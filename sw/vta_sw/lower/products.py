"""Products that several operators emit: weight tiles loaded once, and the micro-ops of channels by themselves."""

from __future__ import annotations

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.encoding import depthwise, gemm, load
from vta_arch.isa import Memory, Opcode
from vta_arch.layout import pack_weight_bits

from ..graph.types import Ints
from .acc_tile import AccTile
from .context import Context
from .stream import Resource, StreamBuilder

SHARED_WEIGHTS: Resource = ("wgt", 0)
"""The resource that :func:`load_tiles` writes."""


def bus_words(cfg: VTAConfig) -> int:
    """Cycles that the bus takes for an input vector, at least one."""
    return max(1, cfg.inp_elem_bytes * 8 // cfg.axi_data_width)


def load_tiles(context: Context, stream: StreamBuilder, tiles: Ints) -> None:
    """Load weight tiles [n, block_out, block_in] to the start of the weight scratchpad, for a whole layer."""
    data = pack_weight_bits(np.ascontiguousarray(tiles), context.cfg.wgt_width).tobytes()
    shape = {"y_size": 1, "x_size": len(tiles), "x_stride": len(tiles)}
    insn = load(context.cfg, Memory.WGT, dram_base=context.pools["weights"].add(data), **shape)
    stream.add_transfer(insn, Memory.WGT, "weights", writes=[SHARED_WEIGHTS])


def channel_products(
    cfg: VTAConfig,
    acc: AccTile,
    half: int,
    opcode: Opcode,
    uops: dict[str, int],
    loops: dict[str, int],
    reads: list[Resource],
    *,
    overwrite: bool,
) -> None:
    """Products of DEPTHWISE or GEMM that add up in one accumulator each; with ``overwrite`` the first replaces it."""
    if opcode == Opcode.DEPTHWISE:
        acc.products(half, depthwise(cfg, reset=int(overwrite), **uops, **loops), reads)
        return
    begin, end = uops["uop_bgn"], uops["uop_end"]
    if overwrite:
        acc.products(half, gemm(cfg, reset=1, uop_bgn=begin, uop_end=begin + 1, **loops), reads)
        begin += 1
    if begin < end:
        acc.products(half, gemm(cfg, uop_bgn=begin, uop_end=end, **loops), reads)
