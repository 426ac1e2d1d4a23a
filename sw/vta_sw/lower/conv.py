"""Lower a convolution (a dense layer is a 1x1 convolution of one position)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from vta_arch.encoding import load
from vta_arch.isa import Memory, Opcode, insn_fields
from vta_arch.layout import pack_weight_bits

from ..graph.types import IntLayer
from .acc_tile import AccTile
from .context import Context, SlotCache, UopCache
from .conv_products import ConvProducts
from .geometry import ConvGeometry, conv_geometry, signed_pad
from .parts import Part, Position, parts_of
from .requantize import Requantization, overlaps, plan_requantization
from .stream import StreamBuilder
from .tiling import Tiling, row_parts
from .tiling_trials import TilingTrials
from .weight_tiles import Used, WeightTiles, used_key


class ConvLowering(TilingTrials, ConvProducts):
    """The lowering of one convolution; making it proves that it can be lowered (else NotLowerableError)."""

    def __init__(self, context: Context, layer: IntLayer) -> None:
        self._context, self._cfg, self._layer = context, context.cfg, layer
        self.geometry: ConvGeometry = self._geometry()
        self.plan: Requantization = self._plan()
        self._limits = insn_fields(context.cfg, Opcode.LOAD)
        self._pattern_key = b""
        self._read_weights()
        self._found = self._good_tilings(self._TRIALS)
        self._kept_weights: tuple[Tiling, bytes] | None = None

    def _geometry(self) -> ConvGeometry:
        return conv_geometry(self._cfg, self._layer)

    def _read_weights(self) -> None:
        """Find the weight tiles that are used."""
        self._tiled = WeightTiles(self._cfg, self._layer)
        self._pattern_key = used_key(self._tiled.used)[1]
        self.geometry = replace(self.geometry, pattern=self._tiled.pattern)

    def _plan(self) -> Requantization:
        return plan_requantization(self._cfg, self._layer)

    def key(self) -> tuple[Hashable, ...]:
        """Layers of one key have the same instructions, but for addresses and constants."""
        return (type(self).__name__, self.geometry, self._pattern_key, self.plan.passes, self.plan.start)

    @property
    def least_cycles(self) -> int:
        """Cycles that no tiling can do without: the array makes one product of blocks at a time."""
        geometry = self.geometry
        vectors = geometry.images * geometry.rows.out * geometry.cols.out * geometry.out_blocks
        return math.floor(vectors * geometry.products)

    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        self._emit(self._context, stream, self.tiling, self._context.pools["weights"].add(self._packed()))

    def _packed(self) -> bytes:
        """The weights as they are loaded, kept for the next time: a layer is emitted more than once."""
        if self._kept_weights is None or self._kept_weights[0] != self.tiling:
            self._kept_weights = self.tiling, pack_weight_bits(self._weight_tiles(), self._cfg.wgt_width).tobytes()
        return self._kept_weights[1]

    def _weight_tiles(self) -> NDArray[np.integer]:
        """Weights in the order in which they are loaded: [..., block_out, block_in]."""
        parts = self._weight_parts(self.tiling)
        return np.concatenate([self._tiled.of_part(o.first, i.first, kept) for (o, i), (kept, _) in parts.items()])

    def _weight_parts(self, tiling: Tiling) -> dict[tuple[Part, Part], tuple[Used, int]]:
        """Of each part of output and input blocks that is used: its tiles, and the place of the first one.

        An output block's first part has at least one tile, whose product starts the sum.
        """
        found: dict[tuple[Part, Part], tuple[Used, int]] = {}
        place = 0
        for out in parts_of(self.geometry.out_blocks, tiling.out_blocks):
            rows = self._tiled.used[out.first : out.first + out.count]
            ins = parts_of(self.geometry.in_blocks, tiling.in_blocks)
            active = [part for part in ins if rows[:, part.first : part.first + part.count].any()] or ins[:1]
            for part in active:
                kept = rows[:, part.first : part.first + part.count]
                if part is active[0]:
                    kept = kept.copy()
                    self._start_sums(kept)
                found[out, part] = kept, place
                place += int(np.count_nonzero(kept))
        return found

    def _start_sums(self, kept: Used) -> None:
        """Add a tile, of zeros, wherever an output block has none that starts its sum."""
        kept[~kept.any(axis=(1, 2, 3)), 0, 0, 0] = True

    def _place_weights(self, tiling: Tiling) -> None:
        self._kept = self._weight_parts(tiling)
        self._ins: dict[Part, list[Part]] = {}
        for out, into in self._kept:
            self._ins.setdefault(out, []).append(into)

    def _accumulators(self, tiling: Tiling) -> int:
        """Accumulators of an output block of the largest tile."""
        return tiling.rows * tiling.cols

    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        self.tiling, self._weights, self._stream = tiling, weights, stream
        self._place_weights(tiling)
        self._uops = UopCache(context, stream)
        size = tiling.out_blocks, self._accumulators(tiling)
        self._acc = AccTile(context, stream, self._uops, self.plan, *size, parts=self._parts_of_half(*size))
        self._inp_slots, self._wgt_slots = (
            SlotCache(slots, stream.other_slot(memory, slots, depth))
            for memory, slots, depth in (
                (Memory.INP, tiling.inp_slots, self._cfg.inp_depth),
                (Memory.WGT, tiling.wgt_slots, self._cfg.wgt_depth),
            )
        )
        self._wgt_shift = 0
        self._wgt_shift = self._beside_others()
        tiles = list(self._tiles())
        first = stream.other_half
        self._acc.prepare(min(2, len(tiles)), first)
        for number, (position, out) in enumerate(tiles, first):
            self._emit_tile(number % (2 * self._acc.parts), position, out)
        self._finish_tiles()
        self._uops.finish()

    def _parts_of_half(self, blocks: int, vectors: int) -> int:
        """Tiles that each half of the accumulators holds: two where a sum is one product, so that STORE never waits.

        The array then reads no accumulators; where it does, STORE would wait for it, in the half that both use.
        """
        fits = 2 * blocks * vectors <= self._cfg.acc_depth // 2
        alone = overlaps(self._cfg) and not self.plan.passes and not len(self.plan.vectors)
        return 2 if fits and alone and self.geometry.products <= 1 else 1

    def _finish_tiles(self) -> None:
        """What is left when all tiles have their products."""
        self._acc.finish()

    def _tiles(self) -> Iterator[tuple[Position, Part]]:
        outs = parts_of(self.geometry.out_blocks, self.tiling.out_blocks)
        if self.tiling.weights_first:
            for out in outs:
                for position in self._positions(begins=out is outs[0], ends=out is outs[-1]):
                    yield position, out
            return
        for position in self._positions(begins=True, ends=True):
            for out in outs:
                yield position, out

    def _positions(self, *, begins: bool, ends: bool) -> Iterator[Position]:
        """All positions in order; whether with the first of the layer's tiles, and the last."""
        geometry, tiling = self.geometry, self.tiling
        for image in range(geometry.images):
            first, last = begins and image == 0, ends and image == geometry.images - 1
            for rows in row_parts(geometry.rows.out, tiling.rows, tiling.edge, begins=first, ends=last):
                for cols in parts_of(geometry.cols.out, tiling.cols):
                    yield Position(image, Part(*rows), cols)

    def _emit_tile(self, half: int, position: Position, out: Part) -> None:
        vectors = self._vectors(position)
        for number, into in enumerate(self._ins[out]):
            # Weights first: they need not wait for the layer before.
            wgt_slot, missing = self._wgt_slots.get((out, into))
            if missing:
                self._load_weights(wgt_slot, out, into)
            inp_slot, missing = self._inp_slots.get((position, into))
            if missing:
                self._load_input(inp_slot, position, into)
            if number == 0:
                self._acc.begin(half, out.first, out.count, vectors)
            self._gemm((half, inp_slot, wgt_slot), position, out, into, first=number == 0)
            self._between_parts()
        self._acc.finish()
        self._end_tile(half, position, out)

    def _between_parts(self) -> None:
        """What follows the products of a part of the input blocks."""
        self._acc.go_on()

    def _end_tile(self, half: int, position: Position, out: Part) -> None:
        """What follows the products of a tile."""
        vectors = self._vectors(position)
        self._acc.requantize(half, out.first, out.count, vectors, partial(self._store, half, position, out))

    # Transfers -----------------------------------------------------------------------------
    def _most_tiles(self) -> int:
        """Weight tiles of the largest part."""
        return max(int(np.count_nonzero(kept)) for kept, _ in self._kept.values())

    def _beside_others(self) -> int:
        """Weight tiles from the start of a slot to where a part is loaded: clear of what the layers before use."""
        bases = [self._wgt_base(slot) for slot in range(self.tiling.wgt_slots)]
        found = self._stream.loaded.clear_shift(Memory.WGT, bases, self._most_tiles(), self._wgt_slot())
        return found or 0

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
        kept, place = self._kept[out, into]
        size = int(np.count_nonzero(kept))
        insn = load(
            self._cfg,
            Memory.WGT,
            sram_base=self._wgt_base(slot),
            dram_base=self._weights + place,
            y_size=1,
            x_size=size,
            x_stride=size,
        )
        self._stream.add_transfer(insn, Memory.WGT, "weights", writes=[("wgt", slot)])

    def _store(self, half: int, position: Position, out: Part) -> None:
        shapes, merged = self._output_shapes(position, out)
        pitch = self._block_pitch(position)
        for number, shape in shapes:
            self._acc.store(half, self._layer.output.name, out.first + number, number * pitch, shape, each_row=merged)

    def _output_shapes(self, position: Position, out: Part) -> tuple[list[tuple[int, dict[str, int]]], bool]:
        """Transfers of a tile of outputs: the first block of each and its fields; whether their rows are blocks."""
        geometry = self.geometry
        height, width = position.rows.count, position.cols.count
        plane = geometry.rows.out * geometry.cols.out
        first = (position.image * geometry.out_blocks + out.first) * plane
        first += position.rows.first * geometry.cols.out + position.cols.first
        if width == geometry.cols.out and plane <= self._limits["x_stride"].max:
            shape = {"y_size": out.count, "x_size": height * width, "x_stride": plane}
            return [(0, shape | {"dram_base": first})], True
        shape = {"y_size": height, "x_size": width, "x_stride": geometry.cols.out}
        return [(block, shape | {"dram_base": first + block * plane}) for block in range(out.count)], False
