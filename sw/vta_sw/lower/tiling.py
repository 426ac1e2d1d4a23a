"""Choose a convolution's tiles: every candidate is legal, the one with the least estimated cycles wins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

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

_QUEUED_START = 8
"""Cycles that a LOAD takes besides its data where others are asked for before it has come."""

_NEVER = 1 << 62
"""The estimate of what is not worth a look."""

Grid = NDArray[np.int64]
Cycles = NDArray[np.float64]


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


@dataclass(frozen=True)
class Beside:
    """What a convolution's tile needs besides the convolution, of a shortcut that is added to it.

    ``shortcut``: input vectors per output vector, each of which is loaded and is one more product; ``weights``: weight
    tiles that stay for the whole layer.
    """

    shortcut: int = 0
    weights: int = 0


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
    legal &= out * (rows * cols * geometry.phases + vectors) <= cfg.acc_depth // 2
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
    costs = _Costs(cfg, geometry, sizes, slots)
    products = geometry.products + beside.shortcut
    inp_loads, wgt_loads = _loads(costs.positions, costs.outs, costs.ins, sizes.parts, slots, weights_first)
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


class _Costs:
    """What the tiles of all candidates cost, in cycles, and how many there are."""

    def __init__(self, cfg: VTAConfig, geometry: ConvGeometry, sizes: _Candidates, slots: tuple[int, int]) -> None:
        self._cfg, self._geometry, self._sizes = cfg, geometry, sizes
        rows, edge = sizes.rows, sizes.edge
        self.beat = cfg.axi_data_width // 8
        self._start = _QUEUED_START if slots[0] >= MANY_SLOTS else TRANSFER_START
        inner = -(-(geometry.rows.out - 2 * edge) // rows)
        self.row_tiles = np.where(edge < rows, 2 + inner, -(-geometry.rows.out // rows))
        self._col_tiles = -(-geometry.cols.out // sizes.cols)
        self.positions: Grid = geometry.images * self.row_tiles * self._col_tiles
        self.outs: Grid = -(-geometry.out_blocks // sizes.out)
        self.ins: Grid = -(-geometry.in_blocks // sizes.into)
        self.steps = self.positions * sizes.parts
        self.tiles = self.positions * self.outs
        self.vectors = geometry.images * geometry.rows.out * geometry.cols.out * geometry.out_blocks
        self.runs = np.where(sizes.cols == geometry.cols.out, 1, sizes.out)
        """Transfers of a tile's outputs: one of whole rows, else one for each block."""
        share = geometry.products / (geometry.in_blocks * geometry.taps) * self.outs * self.ins / sizes.parts
        self._tiles_of_part: Cycles = sizes.out * sizes.into * geometry.taps * share
        self.weights: Cycles = self._tiles_of_part * cfg.wgt_elem_bytes / self.beat + TRANSFER_START

    def input(self, height: Grid | Cycles) -> Cycles:
        """One load of input of a tile of ``height`` rows."""
        geometry, sizes = self._geometry, self._sizes
        window: Cycles = geometry.rows.window(height)  # type: ignore[arg-type,assignment]  # arrays here
        width: Grid = geometry.cols.window(sizes.cols)  # type: ignore[arg-type,assignment]
        time: Cycles = sizes.into * (self._start + window * width * self._cfg.inp_elem_bytes / self.beat)
        return time

    def store(self, height: Grid | Cycles) -> Cycles:
        """The stores of a tile of ``height`` rows."""
        sizes, phases = self._sizes, self._geometry.phases
        made = sizes.out * height * sizes.cols * phases * store_cycles(self._cfg)
        time: Cycles = self.runs * TRANSFER_START + made
        return time

    def compute(self, products: float, alu_cycles: int, store: Cycles, beside: Beside) -> Cycles:
        """Products, passes and the loads of micro-ops of all tiles, one micro-op a cycle."""
        sizes, wgt = self._sizes, self._tiles_of_part
        # The tables of micro-ops are loaded once if those of all slots fit.
        shapes = np.where((sizes.edge < sizes.rows) & (sizes.out * sizes.into > 1), 2, 1)
        uop_load = np.where(4 * shapes * wgt > self._cfg.uop_depth, self.steps, 2) * (TRANSFER_START + wgt)
        passes = self.vectors * alu_cycles + self.tiles * alu_cycles * ALU_START
        array = self.vectors * products + self.steps * GEMM_START
        if not overlaps(self._cfg):
            return array + passes + uop_load
        # The passes and the store of a tile are hidden by the next tile's products.
        time: Cycles = np.maximum(array, self._half(passes + store, beside)) + uop_load
        return time

    def _half(self, behind: Cycles, beside: Beside) -> Cycles:
        """What the halves of the accumulators have to do ``behind`` the products, as far as a bank can share it."""
        if not beside.shortcut:
            return behind
        # All that happens to a tile keeps its half busy. Where a half holds one tile only, it also waits while the
        # other half takes its shortcut in.
        sizes = self._sizes
        alone = 2 * sizes.out * sizes.rows * sizes.cols > self._cfg.acc_depth // 2
        waits = np.where(alone, self.vectors * beside.shortcut + self.tiles * CHAIN_START, 0)
        time: Cycles = (self.vectors * self._geometry.products + behind + waits) / 2
        return time

    def waiting(self, inp_loads: Grid, wgt_loads: Grid) -> Cycles:
        """What small tiles at the edges, where weights do not stay, are too short to hide of their loads."""
        sizes, geometry = self._sizes, self._geometry
        number = 2 * geometry.images * self._col_tiles * self.outs * self.ins
        loads = self.weights * wgt_loads / self.steps + self.input(sizes.edge) * inp_loads / self.steps
        small = np.where(sizes.edge < sizes.rows, number, 0)
        time: Cycles = small * np.maximum(loads - sizes.edge * sizes.cols * self._tiles_of_part, 0)
        return time

    def ends(self, products: float, alu_cycles: int) -> Cycles:
        """The first tile's loads, the last tile's store, and what a small tile does not hide of its neighbour's."""
        sizes, overlap = self._sizes, overlaps(self._cfg)
        per_vector = max(products, alu_cycles) if overlap else products + alu_cycles
        size = np.minimum(sizes.edge, sizes.rows) * sizes.cols * sizes.out
        ends = self.input(sizes.edge) + self.weights + self.store(sizes.edge)
        if overlap:
            ends += size * min(products, alu_cycles)
        hidden = size * per_vector
        beyond = np.maximum(self.input(sizes.rows) - hidden, 0) + np.maximum(self.store(sizes.rows) - hidden, 0)
        time: Cycles = ends + np.where(self.tiles > 1, beyond, 0)
        return time


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
