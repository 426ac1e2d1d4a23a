"""What a convolution's tiles cost, roughly: for thousands of candidates at once, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig

from .geometry import ConvGeometry
from .requantize import overlaps
from .timeline import ALU_START, GEMM_START, TRANSFER_START, store_cycles

MANY_SLOTS = 4
"""Tiles of input that hide each other's way from memory; with two, none is asked for while its slot is in use."""
CHAIN_START = 120
"""Cycles between the steps behind a tile's products until it is stored, where a shortcut is added."""

_QUEUED_START = 8
"""Cycles that a LOAD takes besides its data where others are asked for before it has come."""

Grid = NDArray[np.int64]
Cycles = NDArray[np.float64]


@dataclass(frozen=True)
class Beside:
    """What a convolution's tile needs besides the convolution, of a shortcut that is added to it.

    ``shortcut``: input vectors per output vector, each of which is loaded and is one more product; ``weights``: weight
    tiles that stay for the whole layer.
    """

    shortcut: int = 0
    weights: int = 0


@dataclass(frozen=True)
class Candidates:
    """Sizes of all legal tiles, as flat arrays; ``parts``: of the weights, how many parts hold a used tile."""

    rows: Grid
    cols: Grid
    out: Grid
    into: Grid
    edge: Grid
    parts: Grid


class TileCosts:
    """What the tiles of all candidates cost, in cycles, and how many there are."""

    def __init__(self, cfg: VTAConfig, geometry: ConvGeometry, sizes: Candidates, slots: tuple[int, int]) -> None:
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


def loads_of(
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
