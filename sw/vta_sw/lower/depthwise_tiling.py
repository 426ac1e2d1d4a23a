"""Choose a depthwise convolution's tiles: every candidate is legal, those with the least estimated cycles win."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.layout import ceil_div

from .depthwise_steps import DepthwiseSteps
from .errors import NotLowerableError
from .geometry import ConvGeometry
from .requantize import overlaps
from .tiling import Tiling
from .timeline import GEMM_START, ISSUE_CYCLES, TRANSFER_START

_EDGES = (1, 2, 4)
"""The first and last tile of a column of tiles may have this fraction of the others' rows."""
_SLOTS = (2, 1)
"""Tiles of input and of weights that the scratchpads hold: two where that is possible."""

Grid = NDArray[np.int64]


@dataclass(frozen=True)
class DepthwiseTask:
    """What the tiles depend on besides the configuration.

    ``alu_cycles``: cycles per vector that are no products; ``vectors``: constants per output block.
    """

    geometry: ConvGeometry
    steps: DepthwiseSteps
    alu_cycles: int
    vectors: int


def accumulators(task: DepthwiseTask, rows: int, cols: int) -> int:
    """Accumulators that one block of a tile occupies, the surplus behind its last row included."""
    return rows * cols + task.steps.surplus(cols)


def input_vectors(task: DepthwiseTask, rows: int, cols: int, blocks: int) -> int:
    """Input scratchpad that a tile occupies, what is read behind its last row included."""
    height, width = task.geometry.rows.window(rows), task.geometry.cols.window(cols)
    return blocks * height * width + max(0, task.steps.reach(task.geometry, cols) - width)


@lru_cache(maxsize=256)
def best_depthwise_tilings(cfg: VTAConfig, task: DepthwiseTask, count: int) -> tuple[Tiling, ...]:
    """The ``count`` best tilings, the best first. Raises NotLowerableError when not even one output fits."""
    geometry = task.geometry
    for slots in _SLOTS:
        found = [
            Tiling(rows, edge, cols, blocks, blocks, True, slots, slots, _estimate(cfg, task, rows, edge, cols, blocks))
            for blocks in _splits(geometry.out_blocks)
            for cols in _splits(geometry.cols.out)
            for rows in _splits(geometry.rows.out)
            if _legal(cfg, task, rows, cols, blocks, slots)
            for edge in sorted({ceil_div(rows, part) for part in _EDGES})
            if edge == rows or 2 * edge < geometry.rows.out
        ]
        if found:
            return tuple(sorted(found, key=lambda item: item.cycles)[:count])
    raise NotLowerableError(
        f"one output needs {input_vectors(task, 1, 1, 1)} input vectors and {len(task.steps.places)} weight tiles; "
        f"configuration {cfg.name} holds {cfg.inp_depth} and {cfg.wgt_depth}"
    )


def _splits(size: int) -> list[int]:
    """Tile sizes that split ``size`` into equal parts (the last may be smaller)."""
    return sorted({ceil_div(size, parts) for parts in range(1, size + 1)})


def _legal(cfg: VTAConfig, task: DepthwiseTask, rows: int, cols: int, blocks: int, slots: int) -> bool:
    tiles = blocks * len(task.steps.places)
    return (
        input_vectors(task, rows, cols, blocks) <= cfg.inp_depth // slots
        and blocks * (accumulators(task, rows, cols) + task.vectors) <= cfg.acc_depth // 2
        and tiles <= cfg.wgt_depth // slots
        and len(task.steps.places) <= cfg.uop_depth // 2
        and max(rows, cols) < 1 << LOOP_ITER_BITS
    )


def _estimate(cfg: VTAConfig, task: DepthwiseTask, rows: int, edge: int, cols: int, blocks: int) -> int:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends."""
    geometry, beat = task.geometry, cfg.axi_data_width // 8
    row_tiles = ceil_div(geometry.rows.out, rows)
    if edge < rows:
        row_tiles = 2 + ceil_div(geometry.rows.out - 2 * edge, rows)
    col_tiles, groups = ceil_div(geometry.cols.out, cols), ceil_div(geometry.out_blocks, blocks)
    tiles = geometry.images * row_tiles * col_tiles * groups
    places, width = len(task.steps.places), geometry.cols.window(cols)

    def load_time(height: int) -> float:
        return blocks * (TRANSFER_START + geometry.rows.window(height) * width * cfg.inp_elem_bytes / beat)

    def store_time(height: int) -> float:
        transfers = 1 if cols == geometry.cols.out else blocks
        return transfers * TRANSFER_START + blocks * height * cols * cfg.out_elem_bytes / beat

    mean = geometry.rows.out / row_tiles
    weights = TRANSFER_START + blocks * places * cfg.wgt_elem_bytes / beat
    load = tiles * load_time(1) + groups * weights
    load += tiles * (load_time(2) - load_time(1)) * (mean - 1)
    store = tiles * store_time(1) * mean + tiles * TRANSFER_START * (1 - mean)
    rounds = task.steps.rounds(cols) * places
    products = tiles * blocks * (mean * rounds + ISSUE_CYCLES)
    passes = tiles * blocks * mean * cols * task.alu_cycles
    compute = max(products, passes) if overlaps(cfg) else products + passes + tiles * blocks * GEMM_START
    last = edge * blocks * (cols * task.alu_cycles if overlaps(cfg) else 0)
    return int(max(load, compute, store) + load_time(edge) + weights + last + store_time(edge))
