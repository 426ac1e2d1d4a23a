"""Lower a depthwise convolution: each channel has a kernel of its own, so an output block reads one input block."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from vta_arch.encoding import load
from vta_arch.isa import Memory
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer, Ints
from .context import Context, UopTable
from .conv import ConvLowering
from .depthwise_steps import add_parts, depthwise_steps, depthwise_tiles
from .depthwise_tiling import DepthwiseTask, accumulators, best_depthwise_tilings
from .geometry import ConvGeometry, conv_geometry
from .parts import Part, Position
from .products import channel_products
from .stream import Resource
from .tiling import Tiling


class DepthwiseLowering(ConvLowering):
    """The lowering of one depthwise convolution; making it proves that it can be lowered (else NotLowerableError).

    A tile is some blocks of an image's part; each block has its own instruction, which makes whole outputs. Rows
    follow each other without a gap: what a row's last step writes beyond it, the next row or block overwrites.
    """

    def __init__(self, context: Context, layer: IntLayer) -> None:
        geometry = conv_geometry(context.cfg, layer)
        self._cfg = context.cfg
        steps = depthwise_steps(context.cfg, geometry)
        self._depthwise = add_parts(context.cfg, geometry, steps, layer.weight)
        self._shared = self._shared_tiles(geometry, layer.weight)
        super().__init__(context, layer)

    def _read_weights(self) -> None:
        """The steps of a kernel are the same for all channels: no tile is left out."""

    def _place_weights(self, tiling: Tiling) -> None:
        """Weights are loaded as :func:`depthwise_tiles` orders them."""

    @property
    def _task(self) -> DepthwiseTask:
        shared = 0 if self._shared is None else len(self._shared[0])
        return DepthwiseTask(self.geometry, self._depthwise, self.plan.cycles, len(self.plan.vectors), shared)

    def _shared_tiles(self, geometry: ConvGeometry, weight: Ints) -> tuple[Ints, Ints] | None:
        """Different weight tiles, and which of them each micro-op uses, where all channels have the same kernel.

        Micro-ops without weights are dropped.
        """
        if len(weight) > 1 and np.any(weight != weight[:1]):
            return None
        whole = np.repeat(weight[:1], self._cfg.block_out, axis=0)
        tiles = depthwise_tiles(self._cfg, replace(geometry, out_blocks=1), self._depthwise, whole)[0]
        kept = tiles.any(axis=(1, 2))
        kept[0] |= not kept.any()
        self._depthwise, tiles = self._depthwise.keep(kept), tiles[kept]
        used, numbers = np.unique(tiles.reshape(len(tiles), -1), axis=0, return_inverse=True)
        return used.reshape(-1, *tiles.shape[1:]), numbers.reshape(-1)

    def key(self) -> tuple[Hashable, ...]:
        return *super().key(), self._task.shared, self._depthwise.places

    @property
    def least_cycles(self) -> int:
        """Unknown: an instruction's steps make several outputs."""
        return 0

    def _weight_steps(self, tiling: Tiling) -> int:
        return ceil_div(self.geometry.out_blocks, tiling.out_blocks)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        return best_depthwise_tilings(self._cfg, self._task, count)

    def _weight_tiles(self) -> NDArray[np.integer]:
        if self._shared is not None:
            return self._shared[0]
        return depthwise_tiles(self._cfg, self.geometry, self._depthwise, self._layer.weight)

    def _accumulators(self, tiling: Tiling) -> int:
        return accumulators(self._task, tiling.rows, tiling.cols)

    def _emit_tile(self, half: int, position: Position, out: Part) -> None:
        vectors = position.rows.count * position.cols.count
        wgt_slot, missing = self._wgt_slots.get(out if self._shared is None else "shared")
        if missing:
            self._load_weights(wgt_slot, out, out)
        inp_slot, missing = self._inp_slots.get((position, out))
        if missing:
            self._load_input(inp_slot, position, out)
        self._acc.begin(half, out.first, out.count, vectors)
        for block in range(out.count):
            self._products((half, inp_slot, wgt_slot), position, block)
            self._acc.go_on()
        self._acc.finish()
        self._acc.requantize(half, out.first, out.count, vectors, partial(self._store, half, position, out))

    def _most_tiles(self) -> int:
        return self._task.weight_tiles(self.tiling.out_blocks)

    def _load_weights(self, slot: int, out: Part, into: Part) -> None:
        del into  # an output block reads the input block of the same number
        size = self._task.weight_tiles(out.count)
        start = self._weights + (out.first * len(self._depthwise.places) if self._shared is None else 0)
        insn = load(
            self._cfg,
            Memory.WGT,
            sram_base=self._wgt_base(slot),
            dram_base=start,
            y_size=1,
            x_size=size,
            x_stride=size,
        )
        self._stream.add_transfer(insn, Memory.WGT, "weights", writes=[("wgt", slot)])

    def _products(self, slots: tuple[int, int, int], position: Position, block: int) -> None:
        half, inp_slot, wgt_slot = slots
        steps, rows, cols = self._depthwise, self.geometry.rows, self.geometry.cols
        height, width = position.rows.count, position.cols.count
        key = ("depthwise", slots, block, width, height if block else 0)
        uops = self._uops.place(key, lambda: self._block_table(slots, position, block))
        rounds = steps.rounds(width)
        loops = {
            "iter_out": height,
            "iter_in": rounds,
            "dst_factor_out": width if height > 1 else 0,
            "dst_factor_in": steps.outputs if rounds > 1 else 0,
            "src_factor_out": rows.step * cols.window(width) if height > 1 else 0,
            "src_factor_in": steps.outputs * cols.step if rounds > 1 else 0,
        }
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        overwrite = self._acc.overlap
        channel_products(self._cfg, self._acc, half, steps.opcode, uops, loops, reads, overwrite=overwrite)

    def _block_table(self, slots: tuple[int, int, int], position: Position, block: int) -> UopTable:
        half, inp_slot, wgt_slot = slots
        rows, cols = self.geometry.rows, self.geometry.cols
        width, places = cols.window(position.cols.count), self._depthwise.places
        dst = self._acc.base(half) + block * position.rows.count * position.cols.count
        src = self._inp_base(inp_slot) + block * self._inp_pitch(position)
        numbers = block * len(places) + np.arange(len(places)) if self._shared is None else self._shared[1]
        wgt = self._wgt_base(wgt_slot) + numbers
        return np.array(
            [
                (dst, src + row * rows.dilation * width + column, tile)
                for tile, (row, column) in zip(wgt.tolist(), places, strict=True)
            ],
            np.int64,
        )
