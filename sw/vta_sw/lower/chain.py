"""Lower maxima (MaxPool, LeakyRelu): chains of products and clamps, then ALU passes over rows.

max(a, b) = max(a - b, 0) + b, so a row of a window costs products of the input scratchpad, whose strides are free, and
passes with an immediate operand: max(a, b, c) = max(max(a - b, 0) + b - c, 0) + c. The rows of a window are then in the
accumulators, and passes with two operands bring them together.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from vta_arch.encoding import alu
from vta_arch.isa import AluOp
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer, Ints
from .acc_tile import AccTile
from .chain_tiling import ChainTask, RowPass, Stages, best_chain_tilings, chain_stages, phases, row_passes, stage_cycles
from .context import Context, SlotCache, UopCache, UopTable
from .conv import ConvLowering
from .depthwise_steps import check_diagonal
from .parts import Part, Position
from .products import SHARED_WEIGHTS, channel_products, load_tiles
from .stream import Resource, StreamBuilder
from .tiling import Tiling
from .timeline import store_cycles


def stage_weights(layer: IntLayer) -> tuple[Ints, int]:
    """Weights [stages, kernel columns] of a chain, and the least value that each stage but the last is clamped to."""
    if layer.op == "rectify":
        upper, whole = layer.factors
        return np.array([[upper], [whole]], np.int64), upper * layer.floor
    columns = layer.kernel[1]
    return np.eye(columns, dtype=np.int64) - np.eye(columns, k=1, dtype=np.int64), 0


@dataclass(frozen=True)
class _Step:
    """A part of a tile's work: the engine that does it, its cycles, and what adds its instructions."""

    engine: str
    cycles: int
    emit: Callable[[], None]


class ChainLowering(ConvLowering):
    """The lowering of one maximum; making it proves that it can be lowered (else NotLowerableError).

    A block of a tile is the outputs, where also the first rows of the windows are, behind them the other rows that
    windows need, sorted by their place in a window's stride. Two tiles are under way at a time, so that the array works
    for one while the ALU works for the other.
    """

    def __init__(self, context: Context, layer: IntLayer) -> None:
        check_diagonal(context.cfg, "a maximum of neighbours")
        self._chain, self._least = stage_weights(layer)
        size = (layer.inputs[0].nchw[1], 1, *layer.kernel)
        super().__init__(context, replace(layer, weight=np.zeros(size, np.int64)))

    def key(self) -> tuple[Hashable, ...]:
        return *super().key(), (self._chain.tobytes(), len(self._chain))

    def _read_weights(self) -> None:
        """All blocks share a few tiles: none is left out."""

    @property
    def _task(self) -> ChainTask:
        return ChainTask(self.geometry, tuple(map(tuple, self._chain.tolist())), self.plan.cycles)

    def _weight_steps(self, tiling: Tiling) -> int:
        return ceil_div(self.geometry.out_blocks, tiling.out_blocks)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        return best_chain_tilings(self._cfg, self._task, count)

    # Emission ------------------------------------------------------------------------------
    def emit(self, stream: StreamBuilder) -> None:
        """Add the layer's instructions to ``stream``; tensors are called by their names."""
        self._emit(self._context, stream, self.tiling, 0)

    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        del weights  # they are few, and shared by all blocks
        self.tiling, self._stream = tiling, stream
        self._stages: Stages = chain_stages(self._cfg, self._task, tiling.cols)
        self._uops = UopCache(context, stream)
        pitch = self._acc_pitch(tiling.rows, tiling.cols)
        self._acc = AccTile(context, stream, self._uops, self.plan, tiling.out_blocks, pitch)
        self._inp_slots = SlotCache(tiling.inp_slots)
        tiles = list(self._tiles())
        first = stream.other_half
        self._acc.prepare(min(2, len(tiles)), first)
        load_tiles(context, stream, self._stages.tiles)
        self._run_tiles(tiles, first)
        self._uops.finish()

    def _run_tiles(self, tiles: list[tuple[Position, Part]], first: int) -> None:
        """Emit all tiles, with overlap two at a time, each in its half: next comes the step that can start first.

        The compute unit takes instructions in order, so one that must wait holds up those behind it.
        """
        halves = 2 if self._acc.overlap else 1
        waiting = deque(tiles)
        lanes: list[deque[_Step]] = [deque() for _ in range(halves)]
        ready = [0] * halves
        free: dict[str, int] = defaultdict(int)
        while True:
            for number, lane in enumerate(lanes):
                if waiting and not lane:
                    half = first + (number if halves > 1 else len(tiles) - len(waiting))
                    lane.extend(self._tile_steps(half % 2, *waiting.popleft()))
            starts = [(max(ready[at], free[lane[0].engine]), at) for at, lane in enumerate(lanes) if lane]
            if not starts:
                return
            start, number = min(starts)
            step = lanes[number].popleft()
            step.emit()
            ready[number] = free[step.engine] = start + step.cycles

    def _tile_steps(self, half: int, position: Position, out: Part) -> Iterator[_Step]:
        """The steps of one tile."""
        rows, cols = position.rows.count, position.cols.count
        pitch = self._acc_pitch(rows, cols)
        lines = out.count * sum(count for _, count, _ in self._areas(position))
        slot, missing = self._inp_slots.get((position, out))
        if missing:
            self._load_input(slot, position, out)
        for stage, steps in enumerate(self._stages.steps):
            cycles = lines * stage_cycles(steps, cols)
            yield _Step("array", cycles, partial(self._stage, stage, half, slot, position, out))
            if stage < len(self._chain) - 1:
                clamp = partial(self._acc.immediate, half, AluOp.MAX, self._least, 1, out.count * pitch)
                yield _Step("alu", lines * cols, clamp)
        for item in row_passes(self.geometry.rows, rows):
            join = partial(self._join_rows, half, position, out, item)
            yield _Step("alu", 2 * out.count * item.count * cols, join)
        cycles = int(out.count * rows * cols * store_cycles(self._cfg))
        yield _Step("store", cycles, partial(self._finish_tile, half, position, out))

    def _finish_tile(self, half: int, position: Position, out: Part) -> None:
        size = out.count * self._acc_pitch(position.rows.count, position.cols.count)
        self._acc.requantize(half, out.first, 1, size, partial(self._store, half, position, out))
        self._acc.finish()

    def _acc_pitch(self, rows: int, cols: int) -> int:
        """Accumulators of one block of a tile."""
        return self._task.accumulators(self._stages, rows, cols)

    # Transfers -----------------------------------------------------------------------------
    def _store(self, half: int, position: Position, out: Part) -> None:
        geometry = self.geometry
        height, width = position.rows.count, position.cols.count
        plane, pitch = geometry.rows.out * geometry.cols.out, self._acc_pitch(height, width)
        start = position.rows.first * geometry.cols.out + position.cols.first
        shape = {"y_size": height, "x_size": width, "x_stride": geometry.cols.out}
        if width == geometry.cols.out and height * width <= self._limits["x_size"].max:
            shape = {"y_size": 1, "x_size": height * width, "x_stride": 0}
        for number in range(out.count):
            block = out.first + number
            dram = (position.image * geometry.out_blocks + block) * plane + start
            self._acc.store(half, self._layer.output.name, block, number * pitch, shape | {"dram_base": dram})

    # Compute -------------------------------------------------------------------------------
    def _areas(self, position: Position) -> list[tuple[int, int, int]]:
        """Of each row of a stride that windows need: its number, how many rows, and where they are in a block."""
        areas, offset = [], 0
        for phase, more in phases(self.geometry.rows):
            count = position.rows.count + more
            areas.append((phase, count, offset))
            offset += count * position.cols.count
        return areas

    def _stage(self, stage: int, half: int, slot: int, position: Position, out: Part) -> None:
        """The products of a stage."""
        if stage == 0:
            self._acc.begin(half, out.first, out.count, self._acc_pitch(position.rows.count, position.cols.count))
        for block in range(out.count):
            self._stage_products(stage, half, slot, position, block)

    def _stage_products(self, stage: int, half: int, slot: int, position: Position, block: int) -> None:
        """What a stage adds to the rows of one block; the first stage overwrites."""
        steps, cols, rows = self._stages.steps[stage], self.geometry.cols, self.geometry.rows
        width, window = position.cols.count, self.geometry.cols.window(position.cols.count)
        pitch = self._acc_pitch(position.rows.count, width)
        rounds = steps.rounds(width)
        reads: list[Resource] = [("inp", slot), SHARED_WEIGHTS]
        for phase, count, offset in self._areas(position):
            dst = self._acc.base(half) + block * pitch + offset
            src = self._inp_base(slot) + block * self._inp_pitch(position) + phase * window
            key = ("chain", stage, dst, src)
            uops = self._uops.place(key, partial(self._stage_table, stage, dst, src))
            loops = {
                "iter_out": count,
                "iter_in": rounds,
                "dst_factor_out": width if count > 1 else 0,
                "dst_factor_in": steps.outputs if rounds > 1 else 0,
                "src_factor_out": rows.step * window if count > 1 else 0,
                "src_factor_in": steps.outputs * cols.step if rounds > 1 else 0,
            }
            overwrite = stage == 0 and self._acc.overlap
            channel_products(self._cfg, self._acc, half, steps.opcode, uops, loops, reads, overwrite=overwrite)

    def _stage_table(self, stage: int, dst: int, src: int) -> UopTable:
        places = zip(self._stages.steps[stage].places, self._stages.numbers[stage], strict=True)
        return np.array([(dst, src + column, tile) for (_, column), tile in places], np.int64)

    def _join_rows(self, half: int, position: Position, out: Part, item: RowPass) -> None:
        """One pass that brings rows of windows together."""
        width, pitch = position.cols.count, self._acc_pitch(position.rows.count, position.cols.count)
        starts = {phase: self._acc.base(half) + offset for phase, _, offset in self._areas(position)}
        dst, src = (starts[phase] + row * width for phase, row in (item.dst, item.src))
        uops = self._uops.place(("rows", dst, src, pitch, out.count), partial(_pairs, dst, src, pitch, out.count))
        loops = {"iter_out": 1, "iter_in": item.count * width, "dst_factor_in": 1, "src_factor_in": 1}
        self._acc.products(half, alu(self._cfg, AluOp.MAX, **uops, **loops), [])


def _pairs(dst: int, src: int, pitch: int, blocks: int) -> UopTable:
    """One micro-op a block: two in a row on one accumulator would wait for each other."""
    return np.array([(dst + block * pitch, src + block * pitch, 0) for block in range(blocks)], np.int64)
