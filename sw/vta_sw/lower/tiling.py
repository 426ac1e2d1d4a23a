"""Choose a convolution's tiles: every candidate is legal, the one with the least estimated cycles wins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.layout import ceil_div

from .errors import NotLowerableError
from .geometry import ConvGeometry

_LOAD_START = 24
"""Cycles that a LOAD or STORE takes besides its beats (its first access overlaps the one before it in part)."""
_ROW_START = 4
"""Cycles that a row of a LOAD or STORE takes besides its beats."""
_COMPUTE_START = 20
"""Cycles between two dependent instructions of the compute unit: its pipeline drains."""
_UOP_START = 60
"""Cycles of a LOAD UOP besides its beats: compute waits for it."""
_ALU_UOPS = 16
"""Micro-op memory kept free for reset and ALU passes."""

Grid = NDArray[np.int64]


@dataclass(frozen=True)
class Tiling:
    """Sizes of a tile: output rows and columns, output and input blocks; slots of the two scratchpads.

    ``weights_first``: the loop over output blocks is the outer one (weights stay), else the loop over positions
    (inputs stay). ``cycles`` is the estimate.
    """

    rows: int
    cols: int
    out_blocks: int
    in_blocks: int
    weights_first: bool
    inp_slots: int
    wgt_slots: int
    cycles: int


def _splits(size: int) -> list[int]:
    """Tile sizes that split ``size`` into equal parts (the last may be smaller)."""
    return sorted({ceil_div(size, parts) for parts in range(1, size + 1)})


@lru_cache(maxsize=1024)
def choose_tiling(cfg: VTAConfig, geometry: ConvGeometry, alu_cycles: int, vectors: int) -> Tiling:
    """The best tiling of a convolution with ``alu_cycles`` ALU cycles per vector and ``vectors`` constants per block.

    Raises NotLowerableError when not even one output fits.
    """
    best: Tiling | None = None
    for slots in ((2, 2), (1, 2), (2, 1), (1, 1)):
        found = _search(cfg, geometry, alu_cycles, vectors, slots)
        if found is not None and (best is None or found.cycles < best.cycles):
            best = found
        if best is not None and slots == (2, 2):
            break
    if best is None:
        window = geometry.rows.window(1) * geometry.cols.window(1)
        raise NotLowerableError(
            f"one output needs {window} input vectors, {geometry.taps} weight tiles and micro-ops; "
            f"configuration {cfg.name} holds {cfg.inp_depth}, {cfg.wgt_depth} and {cfg.uop_depth}"
        )
    return best


def _search(
    cfg: VTAConfig, geometry: ConvGeometry, alu_cycles: int, vectors: int, slots: tuple[int, int]
) -> Tiling | None:
    rows, cols, out, into = (
        axis.reshape(-1)
        for axis in np.meshgrid(
            _splits(geometry.rows.out),
            _splits(geometry.cols.out),
            _splits(geometry.out_blocks),
            _splits(geometry.in_blocks),
            indexing="ij",
        )
    )
    height, width = geometry.rows.window(rows), geometry.cols.window(cols)  # type: ignore[arg-type]  # arrays here
    inp, wgt = into * height * width, out * into * geometry.taps
    legal = (inp <= cfg.inp_depth // slots[0]) & (wgt <= cfg.wgt_depth // slots[1])
    legal &= out * (rows * cols + vectors) <= cfg.acc_depth // 2
    legal &= (wgt <= max(cfg.uop_depth - _ALU_UOPS, 1)) & (np.maximum(rows, cols) < 1 << LOOP_ITER_BITS)
    if not legal.any():
        return None
    rows, cols, out, into, inp, wgt = (item[legal] for item in (rows, cols, out, into, inp, wgt))
    best: Tiling | None = None
    for weights_first in (True, False):
        cycles = _estimate(cfg, geometry, alu_cycles, slots, weights_first, (rows, cols, out, into, inp, wgt))
        at = int(np.argmin(cycles))
        if best is None or cycles[at] < best.cycles:
            sizes = int(rows[at]), int(cols[at]), int(out[at]), int(into[at])
            best = Tiling(*sizes, weights_first, *slots, int(cycles[at]))
    return best


def _estimate(
    cfg: VTAConfig,
    geometry: ConvGeometry,
    alu_cycles: int,
    slots: tuple[int, int],
    weights_first: bool,
    sizes: tuple[Grid, Grid, Grid, Grid, Grid, Grid],
) -> Grid:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends."""
    rows, cols, out, into, inp, wgt = sizes
    beat = cfg.axi_data_width // 8
    positions = geometry.images * -(-geometry.rows.out // rows) * -(-geometry.cols.out // cols)
    outs, ins = -(-geometry.out_blocks // out), -(-geometry.in_blocks // into)
    steps = positions * outs * ins
    inp_loads, wgt_loads = _loads(positions, outs, ins, slots, weights_first)
    height = geometry.rows.window(rows)  # type: ignore[arg-type]  # arrays here
    inp_time = inp * cfg.inp_elem_bytes / beat + into * (_LOAD_START + height * _ROW_START)
    wgt_time = wgt * cfg.wgt_elem_bytes / beat + _LOAD_START
    load = inp_loads * inp_time + wgt_loads * wgt_time
    vectors = geometry.images * geometry.rows.out * geometry.cols.out * geometry.out_blocks
    uop_load = np.where(4 * wgt > cfg.uop_depth, steps, 4) * (_UOP_START + wgt * 4 / beat)
    gemm = vectors * geometry.in_blocks * geometry.taps
    compute = (
        gemm + vectors * (1 + alu_cycles) + steps * _COMPUTE_START + positions * outs * 5 * _COMPUTE_START + uop_load
    )
    whole = cols == geometry.cols.out
    store_time = out * rows * cols * cfg.out_elem_bytes / beat + np.where(whole, 1, out) * _LOAD_START
    store_time += np.where(whole, 1, out * rows) * _ROW_START
    store = positions * outs * store_time
    tail = out * rows * cols * alu_cycles + store_time
    ends = inp_time + wgt_time + tail
    total: Grid = np.ceil(np.maximum(np.maximum(load, compute), store) + ends).astype(np.int64)
    return total


def _loads(positions: Grid, outs: Grid, ins: Grid, slots: tuple[int, int], weights_first: bool) -> tuple[Grid, Grid]:
    """Loads of input and of weight tiles, given what is still in a slot when it is needed again."""
    steps = positions * outs * ins
    if weights_first:
        inp = np.where(positions * ins <= slots[0], positions * ins, steps)
        wgt = np.where(ins <= slots[1], outs * ins, steps)
    else:
        inp = np.where(ins <= slots[0], positions * ins, steps)
        wgt = np.where(outs * ins <= slots[1], outs * ins, steps)
    return inp, wgt
