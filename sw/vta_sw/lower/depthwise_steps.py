"""The micro-ops of a depthwise convolution and their weight tiles.

With the opcode DEPTHWISE a micro-op brings several neighbouring input vectors to several neighbouring outputs; without
it a micro-op of GEMM brings one input vector to one output through a diagonal weight tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig
from vta_arch.isa import Opcode, opcodes
from vta_arch.layout import ceil_div

from ..graph.types import Ints
from .errors import NotLowerableError
from .geometry import ConvGeometry
from .requantize import overlaps
from .weight_parts import split_weight, weight_parts


@dataclass(frozen=True)
class DepthwiseSteps:
    """The micro-ops that make ``outputs`` neighbouring outputs of one block.

    ``places``: of each micro-op its kernel row, and where it reads first: columns from the first output's window.
    ``taps``: neighbouring input vectors that it reads. ``written``: neighbouring accumulators that it writes; those
    beyond ``outputs`` get a sum of 0. ``parts``: of weights that are sums, which part each micro-op has; empty: the
    whole weights.
    """

    opcode: Opcode
    places: tuple[tuple[int, int], ...]
    taps: int
    outputs: int
    written: int
    parts: tuple[int, ...] = ()

    def keep(self, kept: NDArray[np.bool_]) -> DepthwiseSteps:
        """Without the micro-ops that are not ``kept``."""
        places = tuple(place for place, keep in zip(self.places, kept, strict=True) if keep)
        parts = self.parts or (0,) * len(self.places)
        return replace(self, places=places, parts=tuple(part for part, keep in zip(parts, kept, strict=True) if keep))

    def rounds(self, width: int) -> int:
        """Repetitions for a row of ``width`` outputs."""
        return ceil_div(width, self.outputs)

    def surplus(self, width: int) -> int:
        """Accumulators behind a row of ``width`` outputs that are written nevertheless."""
        return (self.rounds(width) - 1) * self.outputs + self.written - width

    def reach(self, geometry: ConvGeometry, width: int) -> int:
        """Input vectors from the window's start to the end of what is read, in a row of ``width`` outputs."""
        last = max(column for _, column in self.places) + self.taps
        return (self.rounds(width) - 1) * self.outputs * geometry.cols.step + last


def depthwise_steps(cfg: VTAConfig, geometry: ConvGeometry) -> DepthwiseSteps:
    """The micro-ops for a configuration. Raises NotLowerableError when it can hold no depthwise weights."""
    rows, cols = geometry.rows, geometry.cols
    if Opcode.DEPTHWISE not in opcodes(cfg):
        check_diagonal(cfg, "a depthwise convolution")
        places = tuple((row, column * cols.dilation) for row in range(rows.kernel) for column in range(cols.kernel))
        return DepthwiseSteps(Opcode.GEMM, places, taps=1, outputs=1, written=1)
    # A sum that is surplus must be overwritten by the next row's; where it would be added, only one output is made.
    most = cfg.depthwise_outputs if overlaps(cfg) else 1
    choices = [steps_of_taps(cfg, geometry, outputs) for outputs in range(1, most + 1)]
    return min(choices, key=lambda item: item.rounds(cols.out) * len(item.places))


def add_parts(cfg: VTAConfig, geometry: ConvGeometry, steps: DepthwiseSteps, weight: Ints) -> DepthwiseSteps:
    """``steps`` once for each part of the weights, without those of later parts that are zero in all channels."""
    number, first = weight_parts(cfg, weight), len(steps.places)
    if number == 1:
        return steps
    every = replace(steps, places=steps.places * number, parts=tuple(np.repeat(np.arange(number), first).tolist()))
    tiles = depthwise_tiles(cfg, geometry, every, weight)
    kept = np.any(tiles, axis=(0, 2, 3)) | (np.arange(len(every.places)) < first)
    return every.keep(kept)


def steps_of_taps(
    cfg: VTAConfig, geometry: ConvGeometry, outputs: int, columns: tuple[int, ...] | None = None
) -> DepthwiseSteps:
    """The fewest micro-ops of DEPTHWISE that make ``outputs`` outputs; ``columns`` of the kernel, all by default."""
    cols, taps = geometry.cols, cfg.depthwise_taps
    used = range(cols.kernel) if columns is None else columns
    needed = {p * cols.step + column * cols.dilation for p in range(outputs) for column in used}
    starts: list[int] = []
    for column in sorted(needed):
        if not starts or column >= starts[-1] + taps:
            starts.append(column)
    places = tuple((row, column) for row in range(geometry.rows.kernel) for column in starts)
    return DepthwiseSteps(Opcode.DEPTHWISE, places, taps, outputs, cfg.depthwise_outputs)


def check_diagonal(cfg: VTAConfig, what: str) -> None:
    """Raises NotLowerableError, about ``what``, unless a weight tile can scale channels each by itself."""
    if cfg.wgt_width == 1:
        raise NotLowerableError(f"{what} needs weights of 2 bits or more (a 1-bit weight cannot be 0)")
    if cfg.block_in != cfg.block_out:
        raise NotLowerableError(
            f"{what} needs equal blocks; configuration {cfg.name} has block_in {cfg.block_in} and "
            f"block_out {cfg.block_out}"
        )


def depthwise_tiles(cfg: VTAConfig, geometry: ConvGeometry, steps: DepthwiseSteps, weight: Ints) -> Ints:
    """Weight tiles [blocks, micro-ops, block_out, block_in] of ``weight`` [channels, 1, kernel rows, columns]."""
    split = np.stack(split_weight(cfg, weight))[:, :, 0]
    padded = np.zeros((len(split), geometry.out_blocks * cfg.block_out, *weight.shape[2:]), np.int64)
    padded[:, : len(weight)] = split
    blocks = padded.reshape(len(split), geometry.out_blocks, cfg.block_out, *weight.shape[2:])
    tiles = np.zeros((geometry.out_blocks, len(steps.places), cfg.block_out, cfg.block_in), np.int64)
    channels = np.arange(cfg.block_out)
    for number, (row, first) in enumerate(steps.places):
        part = steps.parts[number] if steps.parts else 0
        for output in range(steps.outputs):
            for tap in range(steps.taps):
                column, rest = divmod(first + tap - output * geometry.cols.step, geometry.cols.dilation)
                if rest or not 0 <= column < geometry.cols.kernel:
                    continue
                place = channels
                if steps.opcode == Opcode.DEPTHWISE:
                    place = (DEPTHWISE_GROUP * output + channels % DEPTHWISE_GROUP) * steps.taps + tap
                tiles[:, number, channels, place] = blocks[part, :, :, row, column]
    return tiles
