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
from .requantize import overlaps
from .timeline import ALU_START, GEMM_START, TRANSFER_START, store_cycles

ALU_UOPS = 16
"""Micro-op memory kept free for reset and ALU passes."""
MANY_SLOTS = 4
"""Tiles of input that hide each other's way from memory; with two, none is asked for while its slot is in use."""
_EDGES = (1, 2, 3, 4, 8)
"""The first and last tile of a column of tiles may have this fraction of the others' rows."""

CHAIN_START = 120
"""Cycles between the steps behind a tile's products until it is stored, where a shortcut is added."""

_NEVER = 1 << 62
"""The estimate of what is not worth a look."""

Grid = NDArray[np.int64]
Cycles = NDArray[np.float64]


@dataclass(frozen=True)
class Tiling:
    """Sizes of a tile: output rows and columns, output and input blocks; slots of the two scratchpads.

    ``edge``: rows of an image's first and last tiles, which are smaller where that starts compute and ends the
    last store earlier. ``weights_first``: the loop over output blocks is the outer one (weights stay), else the loop
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


@dataclass(frozen=True)
class Beside:
    """What a convolution's tile needs besides the convolution, of a shortcut that is added to it.

    ``shortcut``: input vectors per output vector, each of which is loaded and is one more product; ``weights``: weight
    tiles that stay for the whole layer.
    """

    shortcut: int = 0
    weights: int = 0


NOTHING = Beside()


def row_parts(size: int, rows: int, edge: int) -> list[tuple[int, int]]:
    """First row and number of rows of each tile: at most ``rows``, the first and the last ``edge``."""
    if edge == rows or size <= 2 * edge:
        return [(first, min(rows, size - first)) for first in range(0, size, rows)]
    middle = size - 2 * edge
    step = ceil_div(middle, ceil_div(middle, rows))
    inner = [(first, min(step, edge + middle - first)) for first in range(edge, edge + middle, step)]
    return [(0, edge), *inner, (size - edge, edge)]


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


@dataclass(frozen=True)
class _Candidates:
    """Sizes of all legal tiles, as flat arrays; ``parts``: of the weights, how many parts hold a used tile."""

    rows: Grid
    cols: Grid
    out: Grid
    into: Grid
    edge: Grid
    parts: Grid


def _legal(
    cfg: VTAConfig, geometry: ConvGeometry, vectors: int, slots: tuple[int, int], beside: Beside
) -> _Candidates | None:
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
    legal &= out * (rows * cols + vectors) <= cfg.acc_depth // 2
    legal &= height <= geometry.most_rows
    if "requant" in cfg.extensions and geometry.out_blocks > cfg.req_depth:
        legal &= out <= cfg.req_depth // 2
    legal &= (wgt <= max(cfg.uop_depth - ALU_UOPS, 1)) & (np.maximum(rows, cols) < 1 << LOOP_ITER_BITS)
    if not legal.any():
        return None
    rows, cols, out, into, parts = (np.tile(item[legal], len(_EDGES)) for item in (rows, cols, out, into, parts))
    edge = -(-rows // np.repeat(_EDGES, len(rows) // len(_EDGES)))
    return _Candidates(rows, cols, out, into, np.where(2 * edge < geometry.rows.out, edge, rows), parts)


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


def _one_loop(geometry: ConvGeometry, sizes: _Candidates) -> Grid:
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
    sizes: _Candidates,
    beside: Beside,
) -> Grid:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends."""
    rows, cols, out, into, edge = sizes.rows, sizes.cols, sizes.out, sizes.into, sizes.edge
    beat = cfg.axi_data_width // 8
    store_vector = store_cycles(cfg)
    row_tiles = np.where(edge < rows, 2 + -(-(geometry.rows.out - 2 * edge) // rows), -(-geometry.rows.out // rows))
    col_tiles = -(-geometry.cols.out // cols)
    positions = geometry.images * row_tiles * col_tiles
    outs, ins = -(-geometry.out_blocks // out), -(-geometry.in_blocks // into)
    steps = positions * sizes.parts
    tiles = positions * outs
    width: Grid = geometry.cols.window(cols)  # type: ignore[arg-type,assignment]  # arrays here

    def inp_time(height: Grid | Cycles) -> Cycles:
        window: Cycles = geometry.rows.window(height)  # type: ignore[arg-type,assignment]
        time: Cycles = into * (TRANSFER_START + window * width * cfg.inp_elem_bytes / beat)
        return time

    def store_time(height: Grid | Cycles) -> Cycles:
        count = np.where(cols == geometry.cols.out, 1, out)
        time: Cycles = count * TRANSFER_START + out * height * cols * store_vector
        return time

    dense = geometry.in_blocks * geometry.taps
    wgt = out * into * geometry.taps * (geometry.products / dense * outs * ins / sizes.parts)
    wgt_time = wgt * cfg.wgt_elem_bytes / beat + TRANSFER_START
    inp_loads, wgt_loads = _loads(positions, outs, ins, sizes.parts, slots, weights_first)
    load = inp_loads * inp_time(geometry.rows.out / row_tiles) + wgt_loads * wgt_time
    vectors = geometry.images * geometry.rows.out * geometry.cols.out * geometry.out_blocks
    if beside.shortcut:
        shortcut = vectors * cfg.inp_elem_bytes / beat
        load = load + beside.shortcut * (
            shortcut + tiles * np.where(cols == geometry.cols.out, 1, out) * TRANSFER_START
        )
    products = geometry.products + beside.shortcut
    # One micro-op a cycle; their tables are loaded once if those of all slots fit.
    shapes = np.where((edge < rows) & (out * into > 1), 2, 1)
    uop_load = np.where(4 * shapes * wgt > cfg.uop_depth, steps, 2) * (TRANSFER_START + wgt)
    store = tiles * store_time(geometry.rows.out / row_tiles)
    passes = vectors * alu_cycles + tiles * alu_cycles * ALU_START
    if overlaps(cfg):
        per_vector = max(products, alu_cycles)
        # The passes and the store of a tile are hidden by the next tile's products.
        hidden = passes + store
        if beside.shortcut:
            # All that happens to a tile keeps its half busy. Where a half holds one tile only, it also waits while the
            # other half takes its shortcut in.
            alone = 2 * out * rows * cols > cfg.acc_depth // 2
            waits = np.where(alone, vectors * beside.shortcut + tiles * CHAIN_START, 0)
            hidden = (vectors * geometry.products + passes + store + waits) / 2
        compute = np.maximum(vectors * products + steps * GEMM_START, hidden)
        compute = compute + uop_load
    else:
        per_vector = products + alu_cycles
        compute = vectors * products + steps * GEMM_START + passes + uop_load
    # Where weights do not stay, a small tile is too short for their loads.
    small = np.where(edge < rows, 2 * geometry.images * col_tiles * outs * ins, 0)
    compute = compute + small * np.maximum(
        wgt_time * wgt_loads / steps + inp_time(edge) * inp_loads / steps - edge * cols * wgt, 0
    )
    # Ends: the first tile's loads, the last tile's store, and where a small tile is too short to hide its neighbour's.
    short = np.minimum(edge, rows) * cols * out * per_vector
    more = tiles > 1
    ends = inp_time(edge) + wgt_time + store_time(edge)
    if overlaps(cfg):
        ends += np.minimum(edge, rows) * cols * out * min(products, alu_cycles)
    ends += np.where(more, np.maximum(inp_time(rows) - short, 0) + np.maximum(store_time(rows) - short, 0), 0)
    total: Grid = np.ceil(np.maximum(np.maximum(load, compute), store) + ends).astype(np.int64)
    return total


def _loads(
    positions: Grid, outs: Grid, ins: Grid, parts: Grid, slots: tuple[int, int], weights_first: bool
) -> tuple[Grid, Grid]:
    """Loads of input and of weight tiles, given what is still in a slot when it is needed again.

    ``parts``: parts of the weights that are used, ``outs * ins`` where none is zero.
    """
    steps = positions * parts
    fresh = np.minimum(positions * ins, steps)
    if weights_first:
        inp = np.where(positions * ins <= slots[0], fresh, steps)
        wgt = np.where(parts <= slots[1] * outs, parts, steps)
    else:
        inp = np.where(ins <= slots[0], fresh, steps)
        wgt = np.where(parts <= slots[1], parts, steps)
    return inp, wgt
