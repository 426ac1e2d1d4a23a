"""Lower a convolution and the MaxPool behind it as one layer: the maximum is taken of accumulators, in place.

Requantization never decreases, so the maximum of accumulators, requantized once by STORE, is the maximum of outputs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from vta_arch.encoding import gemm
from vta_arch.isa import AluOp
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer, Pool
from .context import Context, UopTable
from .conv import ConvLowering
from .errors import NotLowerableError
from .parts import Part, Position, parts_of
from .pool_tiling import PoolTask, best_pool_tilings
from .requantize import overlaps
from .stream import Resource
from .tiling import Tiling, row_parts
from .weight_tiles import Used, used_key


@dataclass(frozen=True)
class PoolAxis:
    """One axis of a pool whose windows of ``kernel`` begin ``kernel - stride`` before multiples of ``stride``.

    So a window is a step of ``stride`` positions, and the last ``carried`` positions of the step before. Positions are
    sorted by their phase, the place within their step: equal places of all steps lie side by side.
    """

    kernel: int
    stride: int
    size: int
    out: int

    @property
    def carried(self) -> int:
        """Positions of the step before that a window takes in."""
        return self.kernel - self.stride

    @property
    def used(self) -> int:
        """Positions that any window holds."""
        return min(self.size, self.out * self.stride)

    def phase(self, number: int, first: int, count: int) -> int:
        """Steps of [first, first + count) that have a position of phase ``number``."""
        return min(count, max(0, ceil_div(self.used - first * self.stride - number, self.stride)))


def pool_axes(layer: IntLayer) -> tuple[PoolAxis, PoolAxis]:
    """Rows and columns. Raises NotLowerableError for a pool that cannot be taken in place."""
    pool = layer.fused
    assert isinstance(pool, Pool)
    axes = []
    for axis in range(2):
        kernel, stride, before = pool.kernel[axis], pool.strides[axis], pool.pads[axis]
        found = PoolAxis(kernel, stride, pool.made.nchw[2 + axis], layer.output.nchw[2 + axis])
        if kernel < stride or kernel >= 2 * stride or before != found.carried:
            raise NotLowerableError(
                f"a pool of {kernel} with stride {stride} and padding {before} in front is not taken in place "
                "(stride <= kernel < 2 * stride, padding kernel - stride)"
            )
        if (found.out - 1) * stride >= found.size:
            raise NotLowerableError("the last windows of its pool lie in the padding")
        axes.append(found)
    return axes[0], axes[1]


class PooledLowering(ConvLowering):
    """The lowering of a conv with a Pool; making it proves that it can be lowered (else NotLowerableError).

    A tile is ``tiling.rows`` rows of results, whole rows, of some output blocks. Its accumulators are planes, one for
    each phase of a row and a column, each of [blocks, rows, columns]; the first one ends up as the result, and is
    stored as it is. The rows that a window shares with the tile before are still in the other bank: an ALU instruction
    that touches both banks takes them in.
    """

    _TRIALS = 8

    def __init__(self, context: Context, layer: IntLayer) -> None:
        cfg = context.cfg
        if not overlaps(cfg) or "requant" not in cfg.extensions:
            raise NotLowerableError(f"configuration {cfg.name} lacks the extensions overlap and requant")
        self._rows, self._cols = pool_axes(layer)
        super().__init__(context, layer)

    @property
    def _phases(self) -> list[tuple[int, int]]:
        return [(row, col) for row in range(self._rows.stride) for col in range(self._cols.stride)]

    def key(self) -> tuple[Hashable, ...]:
        return (*super().key(), self._rows, self._cols)

    @property
    def least_cycles(self) -> int:
        """Of the outputs that a window holds; others are not made."""
        geometry = self.geometry
        vectors = geometry.images * self._rows.used * self._cols.used * geometry.out_blocks
        return math.floor(vectors * geometry.products)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        task = PoolTask(
            self.geometry, (self._rows.kernel, self._cols.kernel), (self._rows.stride, self._cols.stride),
            (self._rows.out, self._cols.out), self._cols.used,
        )  # fmt: skip
        return best_pool_tilings(self._cfg, task, count)

    def _steps(self, tiling: Tiling) -> int:
        geometry = self.geometry
        rows = len(row_parts(self._rows.out, tiling.rows, tiling.edge))
        outs = ceil_div(geometry.out_blocks, tiling.out_blocks)
        return geometry.images * rows * outs * ceil_div(geometry.in_blocks, tiling.in_blocks)

    def _accumulators(self, tiling: Tiling) -> int:
        return len(self._phases) * tiling.rows * self._cols.out

    def _tiles(self) -> Iterator[tuple[Position, Part]]:
        geometry, tiling, stride = self.geometry, self.tiling, self._rows.stride
        cols = Part(0, self._cols.used)
        self._pooled: dict[tuple[int, int], Part] = {}
        for out in parts_of(geometry.out_blocks, tiling.out_blocks):
            for image in range(geometry.images):
                for first, count in row_parts(self._rows.out, tiling.rows, tiling.edge):
                    rows = Part(first * stride, min(count * stride, self._rows.used - first * stride))
                    yield Position(image, rows, cols), out

    def _results(self, position: Position) -> Part:
        """Rows of results of a tile."""
        stride = self._rows.stride
        return Part(position.rows.first // stride, ceil_div(position.rows.count, stride))

    def _plane(self, position: Position, out: Part, row: int, col: int) -> int:
        """Accumulators from the tile's start to the plane of a phase."""
        size = out.count * self._results(position).count * self._cols.out
        return (row * self._cols.stride + col) * size

    def _parts_of_half(self, blocks: int, vectors: int) -> int:
        """One: what a window shares with the tile before is in the other half."""
        del blocks, vectors
        return 1

    # Products ------------------------------------------------------------------------------
    def _gemm(self, slots: tuple[int, int, int], position: Position, out: Part, into: Part, *, first: bool) -> None:
        for row, col in self._phases:
            self._phase_products((row, col), slots, position, out, into, first=first)
            self._acc.go_on()

    def _phase_products(
        self,
        phase: tuple[int, int],
        slots: tuple[int, int, int],
        position: Position,
        out: Part,
        into: Part,
        *,
        first: bool,
    ) -> None:
        half, inp_slot, wgt_slot = slots
        rows, cols, results = self.geometry.rows, self.geometry.cols, self._results(position)
        height = self._rows.phase(phase[0], results.first, results.count)
        width = self._cols.phase(phase[1], 0, self._cols.out)
        if not height or not width:
            return
        kept, _ = self._kept[out, into]
        key = ("pooled", phase, slots, *used_key(kept), results.count, position.rows.count)
        uops = self._uops.place(key, lambda: self._phase_table(phase, slots, position, out, kept))
        pitch = cols.window(position.cols.count)
        loops = {
            "iter_out": height,
            "iter_in": width,
            "dst_factor_out": self._cols.out if height > 1 else 0,
            "dst_factor_in": 1,
            "src_factor_out": self._rows.stride * rows.step * pitch if height > 1 else 0,
            "src_factor_in": self._cols.stride * cols.step if width > 1 else 0,
        }
        reads: list[Resource] = [("inp", inp_slot), ("wgt", wgt_slot)]
        if first:
            overwriting = uops | {"uop_end": uops["uop_bgn"] + out.count}
            self._acc.products(half, gemm(self._cfg, reset=1, **overwriting, **loops), reads)
            uops["uop_bgn"] += out.count
        if uops["uop_bgn"] < uops["uop_end"]:
            self._acc.products(half, gemm(self._cfg, **uops, **loops), reads)

    def _phase_table(
        self, phase: tuple[int, int], slots: tuple[int, int, int], position: Position, out: Part, kept: Used
    ) -> UopTable:
        """The convolution's micro-ops for the outputs of one phase."""
        rows, cols = self.geometry.rows, self.geometry.cols
        table = self._table(slots, position, kept)
        dst = self._plane(position, out, *phase)
        src = phase[0] * rows.step * cols.window(position.cols.count) + phase[1] * cols.step
        moved: UopTable = table + np.array([dst, src, 0])
        return moved

    def _block_pitch(self, position: Position) -> int:
        return self._results(position).count * self._cols.out

    # Maximum -------------------------------------------------------------------------------
    def _end_tile(self, half: int, position: Position, out: Part) -> None:
        if position.rows.first and self._rows.carried:
            self._take_over(half, position, out)
        self._before = position
        steps = [*self._column_passes(half, position, out), *self._row_passes(half, position, out)]
        self._acc.then([*steps, partial(self._store, half, position, out)])

    def _take_over(self, half: int, position: Position, out: Part) -> None:
        """The maximum with the shared rows of the tile before, of which the columns are done."""
        width, height = self._cols.out, self._results(position).count
        before = self._results(self._before).count
        for back in range(1, self._rows.carried + 1):
            source = self._plane(self._before, out, self._rows.stride - back, 0) + (before - 1) * width
            loops = {"iter_out": out.count, "iter_in": width, "dst_factor_in": 1, "src_factor_in": 1}
            if out.count > 1:
                loops |= {"dst_factor_out": height * width, "src_factor_out": before * width}
            self._acc.alu_across(half, AluOp.MAX, 0, source, **loops)

    def _column_passes(self, half: int, position: Position, out: Part) -> list[partial[None]]:
        """Maxima along the rows, into the planes of the first column phase."""
        results, width = self._results(position), self._cols.out
        planes = [row for row in range(self._rows.stride) if self._rows.phase(row, results.first, results.count)]
        lines = out.count * results.count
        found = []
        for source, shift in self._sources(self._cols):
            count = (width - 1) if shift else self._cols.phase(source, 0, width)
            if not count:
                continue
            pairs = [
                (self._plane(position, out, row, 0) + shift, self._plane(position, out, row, source)) for row in planes
            ]
            loops = {"iter_out": lines, "iter_in": count, "dst_factor_in": 1, "src_factor_in": 1}
            if lines > 1:
                loops |= {"dst_factor_out": width, "src_factor_out": width}
            found.append(partial(self._acc.alu_pairs, half, AluOp.MAX, pairs, **loops))
        return found

    def _row_passes(self, half: int, position: Position, out: Part) -> list[partial[None]]:
        """Maxima along the columns, into the first plane."""
        results, width = self._results(position), self._cols.out
        found = []
        for source, shift in self._sources(self._rows):
            count = (results.count - 1) if shift else self._rows.phase(source, results.first, results.count)
            if not count:
                continue
            pair = shift * width, self._plane(position, out, source, 0)
            loops = {"iter_out": out.count, "iter_in": count * width, "dst_factor_in": 1, "src_factor_in": 1}
            if out.count > 1:
                pitch = results.count * width
                loops |= {"dst_factor_out": pitch, "src_factor_out": pitch}
            found.append(partial(self._acc.alu_pairs, half, AluOp.MAX, [pair], **loops))
        return found

    def _sources(self, axis: PoolAxis) -> list[tuple[int, int]]:
        """Phases whose positions go into a window's first one, and by how many steps that lies behind them."""
        own = [(phase, 0) for phase in range(1, axis.stride)]
        return own + [(axis.stride - back, 1) for back in range(1, axis.carried + 1)]

    def _output_shapes(self, position: Position, out: Part) -> tuple[list[tuple[int, dict[str, int]]], bool]:
        geometry, results, width = self.geometry, self._results(position), self._cols.out
        plane = self._rows.out * width
        first = (position.image * geometry.out_blocks + out.first) * plane + results.first * width
        shape = {"x_size": results.count * width, "x_stride": plane}
        if plane <= self._limits["x_stride"].max:
            return [(0, shape | {"y_size": out.count, "dram_base": first})], True
        shape |= {"y_size": 1, "x_stride": 0}
        return [(block, shape | {"dram_base": first + block * plane}) for block in range(out.count)], False
