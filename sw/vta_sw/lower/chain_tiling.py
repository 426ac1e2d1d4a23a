"""The stages of a chain of products and clamps, and its tiles: every candidate is legal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.isa import Opcode, opcodes
from vta_arch.layout import ceil_div

from ..graph.types import Ints
from .depthwise_steps import DepthwiseSteps, depthwise_tiles, steps_of_taps
from .errors import NotLowerableError
from .geometry import Axis, ConvGeometry
from .parts import parts_of
from .products import bus_words
from .requantize import overlaps
from .tiling import Tiling, row_parts, splits
from .timeline import TRANSFER_START, store_cycles

_SLOTS = (2, 3, 4, 1)
"""Input tiles that the scratchpad holds; one only where two do not fit."""


def phases(rows: Axis) -> list[tuple[int, int]]:
    """Which rows of a stride the windows need, and of each how many more than there are outputs."""
    found: dict[int, int] = {}
    for tap in range(rows.kernel):
        jump, phase = divmod(tap * rows.dilation, rows.step)
        found[phase] = max(jump, found.get(phase, 0))
    return sorted(found.items())


@dataclass(frozen=True)
class RowPass:
    """``count`` rows from ``dst`` (row of a stride, place) become the maximum of themselves and those from ``src``."""

    dst: tuple[int, int]
    src: tuple[int, int]
    count: int


def row_passes(rows: Axis, outputs: int) -> list[RowPass]:
    """Passes that leave the maximum of each window's rows in the first of them.

    Rows at the same place of a stride are brought together in twos, fours and so on. A pass goes upwards and reads
    ahead, so it reads rows that it has not changed.
    """
    gap = rows.dilation // math.gcd(rows.dilation, rows.step)
    jumps: dict[int, list[int]] = {}
    for tap in range(rows.kernel):
        jump, phase = divmod(tap * rows.dilation, rows.step)
        jumps.setdefault(phase, []).append(jump)
    passes = []
    for phase, places in sorted(jumps.items()):
        first, number, joined = places[0], len(places), 1
        while joined < number:
            shift = min(joined, number - joined)
            joined += shift
            count = outputs + (number - joined) * gap
            passes.append(RowPass((phase, first), (phase, first + shift * gap), count))
        if phase:
            passes.append(RowPass((0, 0), (phase, first), outputs))
    return passes


@dataclass(frozen=True)
class Stages:
    """The micro-ops of each stage, the different weight tiles of all, and which of them each micro-op uses."""

    steps: tuple[DepthwiseSteps, ...]
    tiles: Ints
    numbers: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChainTask:
    """A chain: its geometry, the weights of each stage's columns, and cycles a vector of its requantization."""

    geometry: ConvGeometry
    weights: tuple[tuple[int, ...], ...]
    alu_cycles: int

    def accumulators(self, stages: Stages, rows: int, cols: int) -> int:
        """Accumulators of one block of a tile, what is written behind its last row included."""
        lines = sum(rows + more for _, more in phases(self.geometry.rows))
        return lines * cols + max(steps.surplus(cols) for steps in stages.steps)


@lru_cache(maxsize=256)
def chain_stages(cfg: VTAConfig, task: ChainTask, cols: int) -> Stages:
    """The stages for tiles of at most ``cols`` columns.

    A step of DEPTHWISE makes neighbouring outputs at once where a row is a whole number of steps: a later stage adds,
    so what it makes beyond a row would be added to the next.
    """
    geometry = replace(task.geometry, out_blocks=1, rows=replace(task.geometry.rows, kernel=1))
    most = cfg.depthwise_outputs if Opcode.DEPTHWISE in opcodes(cfg) else 1
    widths = {part.count for part in parts_of(geometry.cols.out, cols)}
    outputs = max(n for n in range(1, most + 1) if all(width % n == 0 for width in widths))
    steps, tiles, lengths = [], [], []
    for weights in task.weights:
        columns = tuple(at for at, weight in enumerate(weights) if weight) or (0,)
        steps.append(_stage(cfg, geometry, outputs, columns))
        kernel = np.broadcast_to(np.array(weights), (cfg.block_out, 1, 1, len(weights)))
        tiles.append(depthwise_tiles(cfg, geometry, steps[-1], kernel)[0])
        lengths.append(len(tiles[-1]))
    stacked = np.concatenate(tiles)
    used, numbers = np.unique(stacked.reshape(len(stacked), -1), axis=0, return_inverse=True)
    ends = np.cumsum(lengths)
    parts = np.split(numbers.reshape(-1), ends[:-1])
    return Stages(tuple(steps), used.reshape(-1, *stacked.shape[1:]), tuple(tuple(part.tolist()) for part in parts))


def _stage(cfg: VTAConfig, geometry: ConvGeometry, outputs: int, columns: tuple[int, ...]) -> DepthwiseSteps:
    """The micro-ops of a stage with weights in ``columns``: of the opcode that takes less time."""
    places = tuple((0, column * geometry.cols.dilation) for column in columns)
    single = DepthwiseSteps(Opcode.GEMM, places, taps=1, outputs=1, written=1)
    if Opcode.DEPTHWISE not in opcodes(cfg):
        return single
    several = steps_of_taps(cfg, geometry, outputs, columns)
    return min((single, several), key=lambda steps: stage_cycles(steps, geometry.cols.out))


def stage_cycles(steps: DepthwiseSteps, width: int) -> int:
    """Cycles of the array for a row of ``width`` outputs: DEPTHWISE writes its accumulators one after the other."""
    least = steps.written if steps.opcode == Opcode.DEPTHWISE else 1
    return steps.rounds(width) * max(len(steps.places), least)


@lru_cache(maxsize=256)
def best_chain_tilings(cfg: VTAConfig, task: ChainTask, count: int) -> tuple[Tiling, ...]:
    """The ``count`` best tilings, the best first. Raises NotLowerableError when not even one output fits."""
    geometry = task.geometry
    found: list[Tiling] = []
    for slots in _SLOTS:
        if slots == 1 and found:
            break
        for cols in splits(geometry.cols.out):
            stages = chain_stages(cfg, task, cols)
            for blocks in splits(geometry.out_blocks):
                fitting = [r for r in splits(geometry.rows.out) if _legal(cfg, task, stages, (r, cols, blocks), slots)]
                for rows in fitting[-4:]:
                    cycles = _estimate(cfg, task, stages, (rows, cols, blocks), slots)
                    found.append(Tiling(rows, rows, cols, blocks, blocks, True, slots, 1, cycles))
    if not found:
        window = geometry.rows.window(1) * geometry.cols.window(1)
        raise NotLowerableError(
            f"one output needs {window} input vectors and {geometry.taps} accumulators; configuration {cfg.name} holds "
            f"{cfg.inp_depth} and {cfg.acc_depth // 2} of a tile"
        )
    return tuple(sorted(found, key=lambda item: item.cycles)[:count])


def _legal(cfg: VTAConfig, task: ChainTask, stages: Stages, size: tuple[int, int, int], slots: int) -> bool:
    rows, cols, blocks = size
    geometry = task.geometry
    height, width = geometry.rows.window(rows), geometry.cols.window(cols)
    beyond = max(0, *(steps.reach(geometry, cols) - width for steps in stages.steps))
    if "requant" in cfg.extensions and geometry.out_blocks > cfg.req_depth and blocks > cfg.req_depth // 2:
        return False
    return (
        blocks * height * width + beyond <= cfg.inp_depth // slots
        and blocks * task.accumulators(stages, rows, cols) <= cfg.acc_depth // 2
        and len(stages.tiles) <= cfg.wgt_depth
        and max(blocks, *(len(steps.places) for steps in stages.steps)) <= cfg.uop_depth // 2
        and height <= geometry.most_rows
        and max(rows * cols, blocks * task.accumulators(stages, rows, cols)) < 1 << LOOP_ITER_BITS
    )


def _estimate(cfg: VTAConfig, task: ChainTask, stages: Stages, size: tuple[int, int, int], slots: int) -> int:
    """Estimated cycles: the busiest of load, array, ALU (without overlap one after the other) and store; the ends."""
    rows, cols, blocks = size
    geometry = task.geometry
    tiles = geometry.images * len(row_parts(geometry.rows.out, rows, rows)) * ceil_div(geometry.cols.out, cols)
    tiles *= ceil_div(geometry.out_blocks, blocks)
    window = geometry.rows.window(rows) * geometry.cols.window(cols)
    lines = sum(rows + more for _, more in phases(geometry.rows))
    load = blocks * (TRANSFER_START + window * bus_words(cfg))
    products = blocks * lines * sum(stage_cycles(steps, cols) for steps in stages.steps)
    clamps = blocks * lines * cols * (len(stages.steps) - 1)
    together = 2 * blocks * cols * sum(item.count for item in row_passes(geometry.rows, rows))
    passes = clamps + together + blocks * lines * cols * max(0, task.alu_cycles - 1)
    store = blocks * (TRANSFER_START + rows * cols * store_cycles(cfg))
    if not overlaps(cfg):
        return int(tiles * max(load, products + passes, store) + load + store)
    # Two tiles are under way, in as many halves of the accumulators; an input slot is free after the last products.
    turns = (products + passes + store) / 2, (load + products + clamps) / slots
    return int(tiles * max(load, products, passes, store, *turns) + load + products + passes + store)
