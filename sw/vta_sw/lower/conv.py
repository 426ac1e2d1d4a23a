"""Lower a convolution (a dense layer is a 1x1 convolution of one position)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from vta_arch.encoding import gemm, load
from vta_arch.isa import Memory, Opcode, insn_fields
from vta_arch.layout import ceil_div, pack_weight_bits, tile_weight

from ..graph.types import IntLayer
from .acc_tile import AccTile
from .context import Context, SlotCache, UopCache, UopTable
from .geometry import ConvGeometry, conv_geometry, signed_pad
from .requantize import Requantization, plan_requantization
from .stream import Resource, StreamBuilder
from .tiling import Tiling, best_tilings, row_parts
from .timeline import trial_cost

_TRIALS = 24
"""Most tilings that are tried on the timeline."""
_TRIAL_STEPS = 500
"""Steps of all trials of a layer: with many steps its ends hardly matter, and the estimate is as good."""


@dataclass(frozen=True)
class Part:
    """A part of an axis: its first element and how many."""

    first: int
    count: int


def _parts(size: int, step: int) -> list[Part]:
    return [Part(first, min(step, size - first)) for first in range(0, size, step)]


@dataclass(frozen=True)
class Position:
    """Where an output tile is: image, rows, columns."""

    image: int
    rows: Part
    cols: Part


class ConvLowering:
    """The lowering of one convolution; making it proves that it can be lowered (else NotLowerableError)."""

    def __init__(self, context: Context, layer: IntLayer) -> None:
        self._context, self._cfg, self._layer = context, context.cfg, layer
        self.geometry: ConvGeometry = conv_geometry(context.cfg, layer)
        self.plan: Requantization = plan_requantization(context.cfg, layer)
        self._limits = insn_fields(context.cfg, Opcode.LOAD)
        self.tiling: Tiling = self._choose_tiling()

    def _choose_tiling(self) -> Tiling:
        """The best of some good tilings: each is emitted on trial."""
        key = (type(self), self.geometry, self.plan.passes, self.plan.start, *self._variant())
        if key not in self._context.tilings:
            found = self._good_tilings(_TRIALS)
            few = found[: max(1, _TRIAL_STEPS // self._steps(found[0]))]
            few = tuple(item for item in few if self._steps(item) <= _TRIAL_STEPS)
            self._context.tilings[key] = min(few, key=self._trial) if len(few) > 1 else found[0]
        return self._context.tilings[key]

    def _variant(self) -> tuple[Hashable, ...]:
        """What else tells layers of the same geometry apart."""
        return ()

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        """The ``count`` tilings with the least estimated cycles, the best first."""
        return best_tilings(self._cfg, self.geometry, self.plan.cycles, len(self.plan.vectors), count)

    def _steps(self, tiling: Tiling) -> int:
        geometry = self.geometry
        rows = len(row_parts(geometry.rows.out, tiling.rows, tiling.edge))
        positions = geometry.images * rows * ceil_div(geometry.cols.out, tiling.cols)
        outs = ceil_div(geometry.out_blocks, tiling.out_blocks)
        return positions * outs * ceil_div(geometry.in_blocks, tiling.in_blocks)

    def _trial(self, tiling: Tiling) -> int:
        """Cycles with ``tiling``, on the timeline."""
        stream = StreamBuilder(self._cfg)
        self._emit(Context(self._cfg), stream, tiling, 0)
        return trial_cost(self._cfg, stream.finish(), stream.banks)

    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        packed = pack_weight_bits(self._weight_tiles(), self._cfg.wgt_width).tobytes()
        self._emit(self._context, stream, self.tiling, self._context.pools["weights"].add(packed))

    def _weight_tiles(self) -> NDArray[np.integer]:
        """Weights in the order in which they are loaded: [output blocks, ..., block_out, block_in]."""
        return tile_weight(self._layer.weight, self._cfg.block_out, self._cfg.block_in)

    def _accumulators(self, tiling: Tiling) -> int:
        """Accumulators of an output block of the largest tile."""
        return tiling.rows * tiling.cols

    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        self.tiling, self._weights, self._stream = tiling, weights, stream
        self._uops = UopCache(context, stream)
        self._acc = AccTile(context, stream, self._uops, self.plan, tiling.out_blocks, self._accumulators(tiling))
        self._inp_slots, self._wgt_slots = SlotCache(tiling.inp_slots), SlotCache(tiling.wgt_slots)
        tiles = list(self._tiles())
        self._acc.prepare(min(2, len(tiles)))
        for number, (position, out) in enumerate(tiles):
            self._emit_tile(number % 2, position, out)
        self._acc.finish()
        self._uops.finish()

    def _tiles(self) -> Iterator[tuple[Position, Part]]:
        geometry, tiling = self.geometry, self.tiling
        outs = _parts(geometry.out_blocks, tiling.out_blocks)
        rows_of_image = [Part(*part) for part in row_parts(geometry.rows.out, tiling.rows, tiling.edge)]
        positions = [
            Position(image, rows, cols)
            for image in range(geometry.images)
            for rows in rows_of_image
            for cols in _parts(geometry.cols.out, tiling.cols)
        ]
        if tiling.weights_first:
            return ((position, out) for out in outs for position in positions)
        return ((position, out) for position in positions for out in outs)

    def _emit_tile(self, half: int, position: Position, out: Part) -> None:
        ins = _parts(self.geometry.in_blocks, self.tiling.in_blocks)
        vectors = position.rows.count * position.cols.count
        for number, into in enumerate(ins):
            inp_slot, missing = self._inp_slots.get((position, into))
            if missing:
                self._load_input(inp_slot, position, into)
            wgt_slot, missing = self._wgt_slots.get((out, into))
            if missing:
                self._load_weights(wgt_slot, out, into)
            if number == 0:
                self._acc.begin(half, out.first, out.count, vectors)
            self._gemm((half, inp_slot, wgt_slot), position, out, into, first=number == 0)
            self._acc.go_on()
        self._acc.finish()
        self._acc.requantize(half, out.first, out.count, vectors, partial(self._store, half, position, out))

    # Transfers -----------------------------------------------------------------------------
    def _inp_base(self, slot: int) -> int:
        return slot * (self._cfg.inp_depth // self.tiling.inp_slots)

    def _wgt_base(self, slot: int) -> int:
        return slot * (self._cfg.wgt_depth // self.tiling.wgt_slots)

    def _inp_pitch(self, position: Position) -> int:
        """Scratchpad vectors from one input block to the next."""
        return self.geometry.rows.window(position.rows.count) * self.geometry.cols.window(position.cols.count)

    def _load_input(self, slot: int, position: Position, into: Part) -> None:
        rows, cols = self.geometry.rows, self.geometry.cols
        row, height, top, bottom = rows.span(position.rows.first, position.rows.count)
        col, width, left, right = cols.span(position.cols.first, position.cols.count)
        plane, pitch = rows.size * cols.size, self._inp_pitch(position)
        first = position.image * self.geometry.in_blocks + into.first
        padded = any((top, bottom, left, right)) or rows.skip > 1
        limit = min(self._limits["x_size"].max, self._limits["x_stride"].max)
        if not padded and width == cols.size and max(plane, height * width) <= limit:
            shape = {"y_size": into.count, "x_size": height * width, "x_stride": plane}
            self._transfer_in(slot, self._inp_base(slot), first * plane + row * cols.size, shape)
            return
        shape = {"y_size": height, "x_size": width, "x_stride": cols.size * rows.skip}
        shape |= {"y_pad_0": top, "y_pad_1": bottom, "x_pad_0": left, "x_pad_1": right}
        if self._layer.pad_value and any((top, bottom, left, right)):
            shape |= {"pad": 1, "pad_value": signed_pad(self._layer.pad_value)}
        for number in range(into.count):
            dram = (first + number) * plane + row * cols.size + col
            self._transfer_in(slot, self._inp_base(slot) + number * pitch, dram, shape)

    def _transfer_in(self, slot: int, sram: int, dram: int, shape: dict[str, int]) -> None:
        insn = load(self._cfg, Memory.INP, sram_base=sram, dram_base=dram, **shape)
        self._stream.add_transfer(insn, Memory.INP, self._layer.inputs[0].name, writes=[("inp", slot)])

    def _load_weights(self, slot: int, out: Part, into: Part) -> None:
        taps = self.geometry.taps
        pitch, size = self.geometry.in_blocks * taps, into.count * taps
        start = self._weights + out.first * pitch + into.first * taps
        merged = max(pitch, size) <= self._limits["x_stride"].max
        for number in range(1 if merged else out.count):
            insn = load(
                self._cfg,
                Memory.WGT,
                sram_base=self._wgt_base(slot) + number * size,
                dram_base=start + number * pitch,
                y_size=out.count if merged else 1,
                x_size=size,
                x_stride=pitch if merged else size,
            )
            self._stream.add_transfer(insn, Memory.WGT, "weights", writes=[("wgt", slot)])

    def _store(self, half: int, position: Position, out: Part) -> None:
        geometry = self.geometry
        height, width = position.rows.count, position.cols.count
        plane, pitch = geometry.rows.out * geometry.cols.out, height * width
        limit = self._limits["x_stride"].max
        image = position.image * geometry.out_blocks
        start = position.rows.first * geometry.cols.out + position.cols.first
        merged = width == geometry.cols.out and plane <= limit
        if merged:
            shapes = [(0, {"y_size": out.count, "x_size": pitch, "x_stride": plane})]
        else:
            shape = {"y_size": height, "x_size": width, "x_stride": geometry.cols.out}
            shapes = [(block, shape) for block in range(out.count)]
        name = self._layer.output.name
        for number, shape in shapes:
            block = out.first + number
            dram = (image + block) * plane + start
            self._acc.store(half, name, block, number * pitch, shape | {"dram_base": dram}, each_row=merged)

    # Products ------------------------------------------------------------------------------
    def _gemm(self, slots: tuple[int, int, int], position: Position, out: Part, into: Part, *, first: bool) -> None:
        half, inp_slot, wgt_slot = slots
        rows, cols = self.geometry.rows, self.geometry.cols
        height, width = position.rows.count, position.cols.count
        pitched = height if out.count > 1 or into.count > 1 else 0
        key = ("gemm", slots, out.count, into.count, width, pitched)
        uops = self._uops.place(key, lambda: self._table(slots, position, out.count, into.count))
        loops = {
            "iter_out": height,
            "iter_in": width,
            "dst_factor_out": width if height > 1 else 0,
            "dst_factor_in": 1,
            "src_factor_out": rows.step * cols.window(width) if height > 1 else 0,
            "src_factor_in": cols.step if width > 1 else 0,
        }
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        if first and self._acc.overlap:
            # The first product of each output block overwrites what an older tile left.
            overwriting = uops | {"uop_end": uops["uop_bgn"] + out.count}
            self._acc.products(half, gemm(self._cfg, reset=1, **overwriting, **loops), reads)
            uops["uop_bgn"] += out.count
        if uops["uop_bgn"] < uops["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **uops, **loops), reads)

    def _table(self, slots: tuple[int, int, int], position: Position, outs: int, ins: int) -> UopTable:
        half, inp_slot, wgt_slot = slots
        rows, cols = self.geometry.rows, self.geometry.cols
        width = cols.window(position.cols.count)
        o, i, y, x = (
            axis.reshape(-1)
            for axis in np.meshgrid(
                np.arange(outs), np.arange(ins), np.arange(rows.kernel), np.arange(cols.kernel), indexing="ij"
            )
        )
        dst = self._acc.base(half) + o * (position.rows.count * position.cols.count)
        src = self._inp_base(inp_slot) + i * self._inp_pitch(position) + y * rows.dilation * width + x * cols.dilation
        wgt = self._wgt_base(wgt_slot) + ((o * ins + i) * rows.kernel + y) * cols.kernel + x
        table = np.stack([dst, src, wgt], axis=-1).astype(np.int64)
        begins = (
            np.arange(len(table)) % (len(table) // outs) == 0
        )  # the first product of each output block, to the front
        return np.concatenate([table[begins], table[~begins]]) if self._acc.overlap else table
