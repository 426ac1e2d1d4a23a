"""The weight tiles of a convolution that are not all zero; the array skips the others.

Zero tiles come from groups of channels, from packed windows whose last rows are missing, from pruned or dead channels,
and from weights that are sums of several: their parts stand side by side, as if the kernel had more columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.layout import ceil_div, tile_weight

from ..graph.types import IntLayer
from .errors import NotLowerableError
from .parts import parts_of
from .weight_parts import MOST_PARTS, split_weight, weight_parts

PLACES_LIMIT = 1 << 24
"""Most tiles, zero ones included, of a convolution."""

Used = NDArray[np.bool_]


def used_key(used: Used) -> tuple[tuple[int, ...], bytes]:
    """Tells arrays of used tiles apart; short where all are used."""
    return used.shape, b"" if used.all() else np.packbits(used).tobytes()


@dataclass(frozen=True)
class TilePattern:
    """How many tiles of each pair of blocks are used: ``counts`` are uint32 [output blocks, input blocks]."""

    out_blocks: int
    in_blocks: int
    counts: bytes
    starts: int = 1
    """Separate sums of an output block, each of which has at least one tile."""

    @cached_property
    def total(self) -> int:
        """Tiles that are used; an output block without any has one, which clears its accumulators."""
        return int(np.maximum(self._table.sum(axis=1), self.starts).sum())

    @property
    def _table(self) -> NDArray[np.int64]:
        return np.frombuffer(self.counts, np.uint32).reshape(self.out_blocks, self.in_blocks).astype(np.int64)

    def steps(self, out: int, into: int) -> tuple[int, int]:
        """Of parts of ``out`` x ``into`` blocks: how many hold a used tile, and most tiles that one needs."""
        return _steps(self, out, into)


@lru_cache(maxsize=4096)
def _steps(pattern: TilePattern, out: int, into: int) -> tuple[int, int]:
    table = pattern._table
    ins, starts = (
        [part.first for part in parts_of(*axis)] for axis in ((pattern.in_blocks, into), (pattern.out_blocks, out))
    )
    by_row = np.add.reduceat(table, ins, axis=1)
    active = np.add.reduceat(by_row, starts, axis=0) > 0
    # Any tile may belong to the same sum, which leaves the others to be started.
    needed = np.add.reduceat(np.maximum(by_row, 1) + pattern.starts - 1, starts, axis=0)
    return int(np.maximum(active.sum(axis=1), 1).sum()), int(needed.max())


class WeightTiles:
    """The tiles of a layer's weight [O, I, KH, KW], of one group or of several (I is then a part of the channels).

    Where weights are sums of P, KW is P times the kernel's columns here, part by part.

    Raises NotLowerableError for groups of 1-bit weights, which cannot be zero, and for absurd sizes.
    """

    def __init__(self, cfg: VTAConfig, layer: IntLayer) -> None:
        if weight_parts(cfg, layer.weight) > MOST_PARTS:
            raise NotLowerableError("its weights are in digits, which nothing is fused with")
        parts = split_weight(cfg, layer.weight)
        weight = np.concatenate(parts, axis=3)
        outs, depth, *kernel = weight.shape
        channels = layer.inputs[0].nchw[1]
        self._split = len(parts) > 1
        self._shape = ceil_div(outs, cfg.block_out), ceil_div(channels, cfg.block_in), *kernel
        if np.prod(self._shape, dtype=np.int64) > PLACES_LIMIT:
            raise NotLowerableError(
                f"its {outs} x {channels} channels and kernel of {kernel[0]} x {kernel[1]} have more than "
                f"{PLACES_LIMIT} weight tiles"
            )
        if cfg.wgt_width == 1 and depth < channels:
            raise NotLowerableError(
                "its groups of channels need weights of 2 bits or more (a 1-bit weight cannot be 0)"
            )
        self._index, self._tiles = self._tile(cfg, weight, channels)
        self.used = self._find_used(cfg.wgt_width == 1)

    def _tile(
        self, cfg: VTAConfig, weight: NDArray[np.int64], channels: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Each pair of blocks' tile or -1, and the tiles [n, KH, KW, block_out, block_in] of those with a weight."""
        outs, depth, *kernel = weight.shape
        number = self._shape[0] * self._shape[1]
        if depth == channels:
            dense = tile_weight(weight.astype(np.int8), cfg.block_out, cfg.block_in)
            return np.arange(number), dense.reshape(number, *dense.shape[2:])
        group = np.arange(outs) // (outs // (channels // depth))
        out_at, in_at = np.arange(outs)[:, None], group[:, None] * depth + np.arange(depth)
        pair = (out_at // cfg.block_out) * self._shape[1] + in_at // cfg.block_in
        touched = np.zeros(number, np.bool_)
        touched[pair] = True
        index = np.where(touched, np.cumsum(touched) - 1, -1)
        tiles = np.zeros((int(touched.sum()), *kernel, cfg.block_out, cfg.block_in), np.int8)
        tiles[index[pair], :, :, out_at % cfg.block_out, in_at % cfg.block_in] = weight
        return index, tiles

    def _find_used(self, all_used: bool) -> Used:
        used = np.zeros((self._shape[0] * self._shape[1], *self._shape[2:]), np.bool_)
        filled = self._index >= 0
        some: Used = np.any(self._tiles, axis=(-2, -1))
        used[filled] = True if all_used else some[self._index[filled]]
        return used.reshape(self._shape)

    @cached_property
    def pattern(self) -> TilePattern | None:
        """Which tiles are used; None when each place of the kernel has one."""
        if self.used.all() and not self._split:
            return None
        counts = self.used.sum(axis=(2, 3)).astype(np.uint32)
        return TilePattern(self._shape[0], self._shape[1], counts.tobytes())

    def of_part(self, out: int, into: int, kept: Used) -> NDArray[np.int8]:
        """The tiles [n, block_out, block_in] at which ``kept`` [outs, ins, KH, KW] is set, in its order.

        ``out``, ``into``: the part's first blocks.
        """
        o, i, y, x = np.nonzero(kept)
        slots = self._index[(o + out) * self._shape[1] + i + into]
        found: NDArray[np.int8] = self._tiles[slots, y, x]
        found[slots < 0] = 0
        return found
