"""Lower a selection of channels (Concat, Slice): products with weights of 0 and 1 move them to their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import LOOP_ITER_BITS
from vta_arch.encoding import gemm, load
from vta_arch.isa import Memory, Opcode, insn_fields
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer
from .acc_tile import AccTile
from .context import Context, UopCache, UopTable
from .errors import NotLowerableError
from .products import SHARED_WEIGHTS, bus_words, load_tiles
from .requantize import Requantization, plan_requantization
from .stream import Resource, StreamBuilder
from .tiling import splits
from .timeline import TRANSFER_START

Source = tuple[int, int]
"""An input and one of its channel blocks."""


@dataclass(frozen=True)
class _Tile:
    """Positions of one image and output blocks."""

    image: int
    first: int
    count: int
    block: int
    blocks: int


class SelectLowering:
    """The lowering of one selection; making it proves that it can be lowered (else NotLowerableError).

    An output block is the sum of some input blocks, each times a weight tile that puts its channels in their places.
    """

    def __init__(self, context: Context, layer: IntLayer) -> None:
        cfg = context.cfg
        self._context, self._cfg, self._layer = context, cfg, layer
        if cfg.wgt_width == 1:
            raise NotLowerableError("moving channels needs weights of 2 bits or more (a 1-bit weight cannot be 0)")
        self.plan: Requantization = plan_requantization(cfg, layer)
        n, c, h, w = layer.output.nchw
        self._images, self._plane, self._out_blocks = ceil_div(n, cfg.batch), h * w, ceil_div(c, cfg.block_out)
        self._sources, self._tiles, self._weights = self._weight_tiles()
        if len(self._tiles) > cfg.wgt_depth:
            raise NotLowerableError(
                f"its channels move in {len(self._tiles)} ways, configuration {cfg.name} holds {cfg.wgt_depth} tiles"
            )
        self._group, self._count = self._choose()

    def _weight_tiles(self) -> tuple[list[list[Source]], list[NDArray[np.int64]], list[list[int]]]:
        """Of each output block the input blocks that it takes, and which weight tile each of them needs; the tiles."""
        cfg, layer = self._cfg, self._layer
        counts = [tensor.nchw[1] for tensor in layer.inputs]
        # Behind the inputs' channels comes one that no input has: the value 0.
        owner = np.append(np.repeat(np.arange(len(counts)), counts), -1)[layer.channels]
        channel = np.concatenate([*(np.arange(count) for count in counts), [0]])[layer.channels]
        sources: list[list[Source]] = []
        tiles: dict[bytes, NDArray[np.int64]] = {}
        numbers: list[list[int]] = []
        for first in range(0, len(owner), cfg.block_out):
            part = slice(first, first + cfg.block_out)
            pairs = list(zip(owner[part].tolist(), (channel[part] // cfg.block_in).tolist(), strict=True))
            sources.append(list(dict.fromkeys(pair for pair in pairs if pair[0] >= 0)) or [(0, 0)])
            numbers.append([])
            for source in sources[-1]:
                tile = np.zeros((cfg.block_out, cfg.block_in), np.int64)
                rows = [row for row, pair in enumerate(pairs) if pair == source]
                tile[rows, channel[part][rows] % cfg.block_in] = 1
                tiles.setdefault(tile.tobytes(), tile)
                numbers[-1].append(list(tiles).index(tile.tobytes()))
        return sources, list(tiles.values()), numbers

    def _needed(self, block: int, blocks: int) -> list[Source]:
        """Input blocks of output blocks [block, block + blocks), in order."""
        return sorted({source for part in self._sources[block : block + blocks] for source in part})

    def _choose(self) -> tuple[int, int]:
        """Output blocks and positions of a tile: all positions as often as that fits, and inputs loaded once."""
        found = []
        for group in splits(self._out_blocks):
            most = self._most(group)
            if most < 1:
                continue
            count = ceil_div(self._plane, ceil_div(self._plane, most))
            starts = range(0, self._out_blocks, group)
            loaded = sum(len(self._needed(first, group)) for first in starts)
            runs = ceil_div(self._plane, count)
            cycles = loaded * self._plane * bus_words(self._cfg) + runs * loaded * TRANSFER_START
            # The ends of a single tile are hidden by nothing.
            found.append((cycles + (cycles // 2 if runs * len(starts) == 1 else 0), -group, count))
        if not found:
            raise NotLowerableError(f"one position does not fit the scratchpads of configuration {self._cfg.name}")
        _, group, count = min(found)
        return -group, count

    def _most(self, group: int) -> int:
        """Most positions of a tile of ``group`` output blocks."""
        cfg, fields = self._cfg, insn_fields(self._cfg, Opcode.LOAD)
        starts = range(0, self._out_blocks, group)
        inputs = max(len(self._needed(first, group)) for first in starts)
        uops = max(sum(map(len, self._sources[first : first + group])) for first in starts)
        if uops > cfg.uop_depth // 4 or ("requant" in cfg.extensions and group > cfg.req_depth // 2):
            return 0
        accumulators = cfg.acc_depth // 2 // group - len(self.plan.vectors)
        limits = (cfg.inp_depth // 2 // inputs, accumulators, (1 << LOOP_ITER_BITS) - 1, fields["x_size"].max)
        return min(*limits, self._plane)

    # Emission ------------------------------------------------------------------------------
    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        self._stream = stream
        self._uops = UopCache(self._context, stream)
        self._acc = AccTile(self._context, stream, self._uops, self.plan, self._group, self._count)
        tiles = list(self._parts())
        half = stream.other_half
        self._acc.prepare(min(2, len(tiles)), half)
        load_tiles(self._context, stream, np.stack(self._tiles))
        for number, tile in enumerate(tiles, half):
            self._emit_tile(number % 2, tile)
        self._acc.finish()
        self._uops.finish()

    def _parts(self) -> Iterator[_Tile]:
        for image in range(self._images):
            for block in range(0, self._out_blocks, self._group):
                for first in range(0, self._plane, self._count):
                    count = min(self._count, self._plane - first)
                    yield _Tile(image, first, count, block, min(self._group, self._out_blocks - block))

    @cached_property
    def _input_blocks(self) -> list[int]:
        return [ceil_div(tensor.nchw[1], self._cfg.block_in) for tensor in self._layer.inputs]

    @cached_property
    def _stride_limit(self) -> int:
        return insn_fields(self._cfg, Opcode.LOAD)["x_stride"].max

    def _inp_base(self, half: int) -> int:
        return half * (self._cfg.inp_depth // 2)

    def _emit_tile(self, half: int, tile: _Tile) -> None:
        needed = self._needed(tile.block, tile.blocks)
        for place, run in _runs(needed, merge=self._plane <= self._stride_limit):
            which, block = needed[place]
            dram = (tile.image * self._input_blocks[which] + block) * self._plane + tile.first
            shape = {"y_size": run, "x_size": tile.count, "x_stride": self._plane if run > 1 else 0}
            base = self._inp_base(half) + place * tile.count
            insn = load(self._cfg, Memory.INP, sram_base=base, dram_base=dram, **shape)
            self._stream.add_transfer(insn, Memory.INP, self._layer.inputs[which].name, writes=[("inp", half)])
        self._acc.begin(half, tile.block, tile.blocks, tile.count)
        self._products(half, tile, needed)
        store = partial(self._store, half, tile)
        self._acc.requantize(half, tile.block, tile.blocks, tile.count, store)

    def _products(self, half: int, tile: _Tile, needed: list[Source]) -> None:
        key = ("select", half, tile.block, tile.blocks, tile.count)
        uops = self._uops.place(key, lambda: self._table(half, tile, needed))
        loops = {"iter_out": 1, "iter_in": tile.count, "dst_factor_in": 1, "src_factor_in": 1}
        reads: list[Resource] = [("inp", half), SHARED_WEIGHTS]
        if self._acc.overlap:
            begin = uops["uop_bgn"] + tile.blocks
            self._acc.products(half, gemm(self._cfg, reset=1, **uops | {"uop_end": begin}, **loops), reads)
            uops["uop_bgn"] = begin
        if uops["uop_bgn"] < uops["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **uops, **loops), reads)

    def _table(self, half: int, tile: _Tile, needed: list[Source]) -> UopTable:
        """The first input of each output block, which may overwrite, then the others."""
        rows: list[list[tuple[int, int, int]]] = [[], []]
        for block in range(tile.blocks):
            dst = self._acc.base(half) + block * tile.count
            pairs = zip(self._sources[tile.block + block], self._weights[tile.block + block], strict=True)
            for number, (source, weight) in enumerate(pairs):
                src = self._inp_base(half) + needed.index(source) * tile.count
                rows[int(number > 0)].append((dst, src, weight))
        return np.array(rows[0] + rows[1], np.int64)

    def _store(self, half: int, tile: _Tile) -> None:
        start = (tile.image * self._out_blocks + tile.block) * self._plane + tile.first
        merged = self._plane <= self._stride_limit
        rows = tile.blocks if merged else 1
        shape = {"y_size": rows, "x_size": tile.count, "x_stride": self._plane if merged else tile.count}
        for block in range(0, tile.blocks, rows):
            place = shape | {"dram_base": start + block * self._plane}
            name = self._layer.output.name
            self._acc.store(half, name, tile.block + block, block * tile.count, place, each_row=merged)


def _runs(needed: list[Source], *, merge: bool) -> Iterator[tuple[int, int]]:
    """(place, number) of neighbouring blocks of one input, which one LOAD brings where ``merge``."""
    first = 0
    for place in range(1, len(needed) + 1):
        which, block = needed[place - 1]
        if merge and place < len(needed) and needed[place] == (which, block + 1):
            continue
        yield first, place - first
        first = place
