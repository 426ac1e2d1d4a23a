"""Choose a convolution's tiles: every candidate is legal, the one with the least estimated cycles wins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.layout import ceil_div

from .errors import NotLowerableError
from .geometry import ConvGeometry
from .tile_costs import MANY_SLOTS, Beside, Candidates, Grid, TileCosts, loads_of
from .timeline import TRANSFER_START

ALU_UOPS = 16
"""Micro-op memory kept free for reset and ALU passes."""
_EDGES = (1, 2, 3, 4, 8)
"""The first and last tile of a column of tiles may have this fraction of the others' rows."""

_NEVER = 1 << 62
"""The estimate of what is not worth a look."""


@dataclass(frozen=True)
class Tiling:
    """Sizes of a tile: output rows and columns, output and input blocks; slots of the two scratchpads.

    ``edge``: rows of a layer's first and last tiles, which are smaller where that starts compute and ends the last
    store earlier. ``weights_first``: the loop over output blocks is the outer one (weights stay), else the loop
    over positions (inputs stay). ``cycles`` is the estimate.
    """

    rows: int
    edge: int
    cols: int
    out_blocks: int
    in_blocks: int
    weights_first: bool
    inp_slots: int
    wgt_slots: int
    cycles: int


NOTHING = Beside()


def row_parts(size: int, rows: int, edge: int, *, begins: bool = True, ends: bool = True) -> list[tuple[int, int]]:
    """First row and number of rows of each tile: at most ``rows``, the first and the last ``edge``.

    ``begins``, ``ends``: whether these are the first, and the last, of a layer's tiles; elsewhere a small tile would
    hide too little of what the next one loads.
    """
    middle = size - edge * (begins + ends)
    if edge == rows or middle <= 0:
        return [(first, min(rows, size - first)) for first in range(0, size, rows)]
    number = ceil_div(middle, rows)
    least, larger = divmod(middle, number)
    # The smaller ones, which hide less, not where other weights may be needed.
    before = larger // 2
    inner = [*[least + 1] * before, *[least] * (number - larger), *[least + 1] * (larger - before)]
    sizes = [*[edge] * begins, *inner, *[edge] * ends]
    return list(zip(accumulate([0, *sizes[:-1]]), sizes, strict=True))


def splits(size: int) -> list[int]:
    """Tile sizes that split ``size`` into equal parts (the last may be smaller)."""
    return sorted({ceil_div(size, parts) for parts in range(1, size + 1)})


def choose_tiling(cfg: VTAConfig, geometry: ConvGeometry, alu_cycles: int, vectors: int) -> Tiling:
    """The first of :func:`best_tilings`."""
    return best_tilings(cfg, geometry, alu_cycles, vectors, 1)[0]


@lru_cache(maxsize=1024)
def best_tilings(
    cfg: VTAConfig, geometry: ConvGeometry, alu_cycles: int, vectors: int, count: int, beside: Beside = NOTHING
) -> tuple[Tiling, ...]:
    """The ``count`` best tilings of a convolution, the best first.

    ``alu_cycles``: cycles per vector that are no products; ``vectors``: constants per output block.
    Raises NotLowerableError when not even one output fits.
    """
    many = _search(cfg, geometry, alu_cycles, vectors, (MANY_SLOTS, 2), count, beside)
    found: list[Tiling] = []
    for slots in ((2, 2), (1, 2), (2, 1), (1, 1)):
        found += _search(cfg, geometry, alu_cycles, vectors, slots, count, beside)
        if found and slots == (2, 2):
            break
    if not found:
        window = geometry.rows.window(1) * geometry.cols.window(1)
        raise NotLowerableError(
            f"one output needs {window} input vectors, {geometry.taps} weight tiles and micro-ops; "
            f"configuration {cfg.name} holds {cfg.inp_depth}, {cfg.wgt_depth} and {cfg.uop_depth}"
        )
    return in_turns(found, many)[:count]


def in_turns(found: list[Tiling], many: list[Tiling]) -> tuple[Tiling, ...]:
    """The best of two kinds, in turns: estimates of one kind are not compared with those of the other."""
    one, other = (sorted(kind, key=lambda item: item.cycles) for kind in (found, many))
    mixed = [item for pair in zip(one, other, strict=False) for item in pair]
    return (*mixed, *one[len(other) :], *other[len(one) :])


def _legal(
    cfg: VTAConfig, geometry: ConvGeometry, vectors: int, slots: tuple[int, int], beside: Beside
) -> Candidates | None:
    rows, cols, out, into = (
        axis.reshape(-1)
        for axis in np.meshgrid(
            splits(geometry.rows.out),
            splits(geometry.cols.out),
            splits(geometry.out_blocks),
            splits(geometry.in_blocks),
            indexing="ij",
        )
    )
    height, width = geometry.rows.window(rows), geometry.cols.window(cols)  # type: ignore[arg-type]  # arrays here
    parts, wgt = _weight_parts(geometry, out, into)
    inp = into * height * width
    legal = inp <= (cfg.inp_depth - beside.shortcut * rows * cols * out) // slots[0]
    legal &= wgt <= (cfg.wgt_depth - beside.weights) // slots[1]
    legal &= out * (rows * cols * geometry.phases + vectors) <= cfg.acc_depth // 2
    legal &= height <= geometry.most_rows
    if "requant" in cfg.extensions and geometry.out_blocks > cfg.req_depth:
        legal &= out <= cfg.req_depth // 2
    legal &= (wgt <= max(cfg.uop_depth - ALU_UOPS, 1)) & (np.maximum(rows, cols) < 1 << LOOP_ITER_BITS)
    if not legal.any():
        return None
    rows, cols, out, into, parts = (np.tile(item[legal], len(_EDGES)) for item in (rows, cols, out, into, parts))
    edge = -(-rows // np.repeat(_EDGES, len(rows) // len(_EDGES)))
    return Candidates(rows, cols, out, into, np.where(2 * edge < geometry.rows.out, edge, rows), parts)


def _weight_parts(geometry: ConvGeometry, out: Grid, into: Grid) -> tuple[Grid, Grid]:
    """For weights in parts of ``out`` x ``into`` blocks: parts that hold a used tile, and most tiles of a part."""
    outs, ins = splits(geometry.out_blocks), splits(geometry.in_blocks)
    table = np.array([[geometry.parts(o, i) for i in ins] for o in outs])
    found = table[np.searchsorted(outs, out), np.searchsorted(ins, into)]
    return found[:, 0], found[:, 1]


def _search(
    cfg: VTAConfig,
    geometry: ConvGeometry,
    alu_cycles: int,
    vectors: int,
    slots: tuple[int, int],
    count: int,
    beside: Beside,
) -> list[Tiling]:
    sizes = _legal(cfg, geometry, vectors, slots, beside)
    if sizes is None:
        return []
    found: dict[tuple[int | bool, ...], Tiling] = {}
    for weights_first in (True, False):
        cycles = _estimate(cfg, geometry, alu_cycles, slots, weights_first, sizes, beside)
        if not weights_first:
            cycles = np.where(_one_loop(geometry, sizes), _NEVER, cycles)
        for at in np.argsort(cycles, kind="stable")[: 2 * count]:
            rows, edge, cols, out, into = (
                int(item[at]) for item in (sizes.rows, sizes.edge, sizes.cols, sizes.out, sizes.into)
            )
            tiling = Tiling(rows, edge, cols, out, into, weights_first, *slots, int(cycles[at]))
            found.setdefault((rows, edge, cols, out, into, weights_first), tiling)
    return list(found.values())


def _one_loop(geometry: ConvGeometry, sizes: Candidates) -> Grid:
    """Where there is one position, or one part of output blocks: the order of the loops makes no difference."""
    tiles = -(-geometry.rows.out // sizes.edge) * -(-geometry.cols.out // sizes.cols) * geometry.images
    found: Grid = (tiles == 1) | (sizes.out >= geometry.out_blocks)
    return found


def _estimate(
    cfg: VTAConfig,
    geometry: ConvGeometry,
    alu_cycles: int,
    slots: tuple[int, int],
    weights_first: bool,
    sizes: Candidates,
    beside: Beside,
) -> Grid:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends."""
    costs = TileCosts(cfg, geometry, sizes, slots)
    products = geometry.products + beside.shortcut
    inp_loads, wgt_loads = loads_of(costs.positions, costs.outs, costs.ins, sizes.parts, slots, weights_first)
    even = geometry.rows.out / costs.row_tiles
    load = inp_loads * costs.input(even) + wgt_loads * costs.weights
    if beside.shortcut:
        shortcut = costs.vectors * cfg.inp_elem_bytes / costs.beat
        load = load + beside.shortcut * (shortcut + costs.tiles * costs.runs * TRANSFER_START)
    store = costs.tiles * costs.store(even)
    compute = costs.compute(products, alu_cycles, store, beside) + costs.waiting(inp_loads, wgt_loads)
    busiest = np.maximum(np.maximum(load, compute), store)
    total: Grid = np.ceil(busiest + costs.ends(products, alu_cycles)).astype(np.int64)
    return total
