"""Lower nearest upsampling: products with the identity repeat columns, STORE repeats rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from vta_arch.config import LOOP_ITER_BITS
from vta_arch.encoding import gemm, load
from vta_arch.isa import Memory, Opcode, insn_fields
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer
from .acc_tile import AccTile
from .context import Context, UopCache, UopTable
from .depthwise_steps import check_diagonal
from .errors import NotLowerableError
from .products import SHARED_WEIGHTS, load_tiles
from .requantize import Requantization, plan_requantization
from .stream import Resource, StreamBuilder


@dataclass(frozen=True)
class _Tile:
    """Rows and columns of one block of one image, in the input."""

    block: int
    plane: int
    row: int
    rows: int
    col: int
    cols: int


class UpsampleLowering:
    """The lowering of one upsampling; making it proves that it can be lowered (else NotLowerableError)."""

    def __init__(self, context: Context, layer: IntLayer) -> None:
        cfg = context.cfg
        self._context, self._cfg, self._layer = context, cfg, layer
        check_diagonal(cfg, "repeating rows and columns")
        self.plan: Requantization = plan_requantization(cfg, layer)
        n, c, self._height, self._width = layer.inputs[0].nchw
        self._blocks = ceil_div(c, cfg.block_in)
        self._images = ceil_div(n, cfg.batch)
        limit = insn_fields(cfg, Opcode.LOAD)["x_stride"].max
        if self._width * layer.factors[0] * layer.factors[1] > limit:
            raise NotLowerableError(f"rows of {self._width} elements, repeated, are longer than STORE's {limit}")
        self._rows, self._cols = self._choose()

    def _choose(self) -> tuple[int, int]:
        """Input rows and columns of a tile: whole rows where one fits."""
        cfg, fields = self._cfg, insn_fields(self._cfg, Opcode.LOAD)
        repeat = self._layer.factors[1]
        room = min(
            cfg.inp_depth // 2,
            (cfg.acc_depth // 2 - len(self.plan.vectors)) // repeat,
            (1 << LOOP_ITER_BITS) - 1,
            fields["x_size"].max // repeat,
        )
        if room < 1 or repeat > cfg.uop_depth // 4:
            raise NotLowerableError(f"one position, {repeat} times, does not fit configuration {cfg.name}")
        cols = ceil_div(self._width, ceil_div(self._width, min(room, self._width)))
        most = min(room // cols, self._height)
        return ceil_div(self._height, ceil_div(self._height, most)), cols

    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        self._stream = stream
        self._uops = UopCache(self._context, stream)
        largest = self._rows * self._cols * self._layer.factors[1]
        self._acc = AccTile(self._context, stream, self._uops, self.plan, 1, largest)
        tiles = list(self._tiles())
        half = stream.other_half
        self._acc.prepare(min(2, len(tiles)), half)
        load_tiles(self._context, stream, np.eye(self._cfg.block_out, dtype=np.int64)[None])
        for number, tile in enumerate(tiles, half):
            self._emit_tile(number % 2, tile)
        self._acc.finish()
        self._uops.finish()

    def _tiles(self) -> Iterator[_Tile]:
        for plane in range(self._images * self._blocks):
            for row in range(0, self._height, self._rows):
                for col in range(0, self._width, self._cols):
                    rows, cols = min(self._rows, self._height - row), min(self._cols, self._width - col)
                    yield _Tile(plane % self._blocks, plane, row, rows, col, cols)

    def _inp_base(self, half: int) -> int:
        return half * (self._cfg.inp_depth // 2)

    def _emit_tile(self, half: int, tile: _Tile) -> None:
        repeat, count = self._layer.factors[1], tile.rows * tile.cols
        dram = (tile.plane * self._height + tile.row) * self._width + tile.col
        shape = {"y_size": tile.rows, "x_size": tile.cols, "x_stride": self._width}
        insn = load(self._cfg, Memory.INP, sram_base=self._inp_base(half), dram_base=dram, **shape)
        self._stream.add_transfer(insn, Memory.INP, self._layer.inputs[0].name, writes=[("inp", half)])
        self._acc.begin(half, tile.block, 1, count * repeat)
        uops = self._uops.place(("upsample", half), lambda: self._table(half))
        loops = {"iter_out": 1, "iter_in": count, "dst_factor_in": repeat, "src_factor_in": 1}
        reads: list[Resource] = [("inp", half), SHARED_WEIGHTS]
        self._acc.products(half, gemm(self._cfg, reset=int(self._acc.overlap), **uops, **loops), reads)
        self._acc.requantize(half, tile.block, 1, count * repeat, partial(self._store, half, tile))

    def _table(self, half: int) -> UopTable:
        base = self._acc.base(half)
        return np.array([(base + at, self._inp_base(half), 0) for at in range(self._layer.factors[1])], np.int64)

    def _store(self, half: int, tile: _Tile) -> None:
        rows, repeat = self._layer.factors
        width = self._width * repeat
        shape = {"y_size": tile.rows, "x_size": tile.cols * repeat, "x_stride": rows * width}
        start = (tile.plane * self._height + tile.row) * rows * width + tile.col * repeat
        for row in range(rows):
            place = shape | {"dram_base": start + row * width}
            self._acc.store(half, self._layer.output.name, tile.block, 0, place)
