"""Choose a depthwise convolution's tiles: every candidate is legal, those with the least estimated cycles win."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.layout import ceil_div

from .depthwise_steps import DepthwiseSteps
from .errors import NotLowerableError
from .geometry import ConvGeometry
from .requantize import overlaps
from .tile_costs import MANY_SLOTS
from .tiling import Tiling, in_turns, row_parts, splits
from .timeline import ALU_START, GEMM_START, ISSUE_CYCLES, TRANSFER_START, store_cycles

_EDGES = (1, 2, 4)
"""The first and last tile of a column of tiles may have this fraction of the others' rows."""
_SLOTS = ((2, 2), (1, 1))
"""Tiles of input and of weights that the scratchpads hold: one only where two do not fit."""


@dataclass(frozen=True)
class DepthwiseTask:
    """What the tiles depend on besides the configuration.

    ``alu_cycles``: cycles per vector that are no products; ``vectors``: constants per output block; ``shared``: weight
    tiles that all blocks share, 0 where each has its own.
    """

    geometry: ConvGeometry
    steps: DepthwiseSteps
    alu_cycles: int
    vectors: int
    shared: int = 0

    def weight_tiles(self, blocks: int) -> int:
        """Weight tiles of ``blocks`` blocks."""
        return self.shared or blocks * len(self.steps.places)


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
    for slots in _SLOTS:
        found = _search(cfg, task, slots)
        if found:
            return in_turns(found, _search(cfg, task, (MANY_SLOTS, 2)))[:count]
    raise NotLowerableError(
        f"one output needs {input_vectors(task, 1, 1, 1)} input vectors and {len(task.steps.places)} weight tiles; "
        f"configuration {cfg.name} holds {cfg.inp_depth} and {cfg.wgt_depth}"
    )


def _search(cfg: VTAConfig, task: DepthwiseTask, slots: tuple[int, int]) -> list[Tiling]:
    """All legal tilings with so many slots of inputs and of weights."""
    geometry = task.geometry
    return [
        Tiling(rows, edge, cols, blocks, blocks, True, *slots, _estimate(cfg, task, (rows, edge, cols, blocks)))
        for blocks in splits(geometry.out_blocks)
        for cols in splits(geometry.cols.out)
        for rows in splits(geometry.rows.out)
        if _legal(cfg, task, rows, cols, blocks, slots)
        for edge in sorted({ceil_div(rows, part) for part in _EDGES})
        if edge == rows or 2 * edge < geometry.rows.out
    ]


def _legal(cfg: VTAConfig, task: DepthwiseTask, rows: int, cols: int, blocks: int, slots: tuple[int, int]) -> bool:
    tiles = task.weight_tiles(blocks)
    if "requant" in cfg.extensions and task.geometry.out_blocks > cfg.req_depth and blocks > cfg.req_depth // 2:
        return False
    return (
        input_vectors(task, rows, cols, blocks) <= cfg.inp_depth // slots[0]
        and blocks * (accumulators(task, rows, cols) + task.vectors) <= cfg.acc_depth // 2
        and tiles <= cfg.wgt_depth // slots[1]
        and len(task.steps.places) <= cfg.uop_depth // 2
        and task.geometry.rows.window(rows) <= task.geometry.most_rows
        and max(rows, cols) < 1 << LOOP_ITER_BITS
    )


def _estimate(cfg: VTAConfig, task: DepthwiseTask, sizes: tuple[int, int, int, int]) -> int:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends.

    ``sizes``: rows, edge, columns and blocks of a tile.
    """
    rows, edge, cols, blocks = sizes
    geometry, steps, beat = task.geometry, task.steps, cfg.axi_data_width // 8
    inp_beats, out_time = cfg.inp_elem_bytes / beat, store_cycles(cfg)
    per_image = len(row_parts(geometry.rows.out, rows, edge)) * ceil_div(geometry.cols.out, cols)
    groups = ceil_div(geometry.out_blocks, blocks)
    wgt_loads = 1 if task.shared else groups
    tiles = geometry.images * per_image * groups
    # Sums over all tiles: of rows of outputs, of rows of windows, and of output vectors.
    columns = geometry.images * ceil_div(geometry.cols.out, cols) * geometry.out_blocks
    height = columns * geometry.rows.out
    windows = height * geometry.rows.step + tiles * blocks * (geometry.rows.window(1) - geometry.rows.step)
    vectors = geometry.images * geometry.out_blocks * geometry.rows.out * geometry.cols.out
    weights = TRANSFER_START + task.weight_tiles(blocks) * cfg.wgt_elem_bytes / beat
    width, stores = geometry.cols.window(cols), 1 if cols == geometry.cols.out else blocks
    load = tiles * blocks * TRANSFER_START + windows * width * inp_beats + wgt_loads * weights
    store = tiles * stores * TRANSFER_START + vectors * out_time
    start = ISSUE_CYCLES if overlaps(cfg) else GEMM_START
    products = height * steps.rounds(cols) * len(steps.places) + tiles * blocks * start
    passes = (vectors + tiles * ALU_START) * task.alu_cycles
    compute = max(products, passes) if overlaps(cfg) else products + passes
    # Ends: the first tile's loads, and the last tile's passes and store.
    last = blocks * edge * cols
    ends = weights + blocks * (TRANSFER_START + geometry.rows.window(edge) * width * inp_beats)
    ends += last * (task.alu_cycles if overlaps(cfg) else 0) + stores * TRANSFER_START + last * out_time
    return int(max(load, compute, store) + ends)
