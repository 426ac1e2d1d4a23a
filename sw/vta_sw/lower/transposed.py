"""Lower a transposed convolution: sub-pixel convolutions, one for each phase of the outputs.

With strides S an output row o = S * q + p sees the taps that meet an input row, and those are the same for all rows of
one phase p: a convolution of stride 1 over positions q. All phases of a tile read the same inputs; their products go to
accumulators S apart, so that a tile's outputs lie in order and STORE writes whole rows. No zero is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from vta_arch.isa import Opcode, insn_fields
from vta_arch.layout import ceil_div, tile_channels

from ..graph.types import IntLayer, Ints
from .context import Context, UopTable
from .conv import ConvLowering
from .errors import NotLowerableError
from .geometry import Axis, ConvGeometry, check_pads, most_rows
from .parts import Part, Position
from .requantize import Requantization, plan_requantization
from .tiling import Tiling, best_tilings
from .weight_tiles import Used


@dataclass(frozen=True)
class Phases:
    """One axis: of each tap its phase and the input that it meets, counted from a position's first one.

    ``made``: outputs; ``positions``: the axis of the positions, each of which makes ``stride`` of them. A phase without
    taps gets one more tap than the kernel has, of zero weights, which clears its accumulators.
    """

    stride: int
    made: int
    phase: tuple[int, ...]
    place: tuple[int, ...]
    positions: Axis

    @property
    def first_taps(self) -> list[int]:
        """The first tap of each phase."""
        return [self.phase.index(number) for number in range(self.stride)]


def axis_phases(size: int, made: int, kernel: int, stride: int, dilation: int, before: int) -> Phases:
    """The phases of ``made`` outputs of ``size`` inputs ``stride`` apart, ``before`` padded ones before the first."""
    shifts = [tap * dilation - before for tap in range(kernel)]
    phase = [-shift % stride for shift in shifts]
    places = [(number + shift) // stride for number, shift in zip(phase, shifts, strict=True)]
    empty = [number for number in range(stride) if number not in phase]
    phase, places = phase + empty, places + [0] * len(empty)
    count = ceil_div(made, stride)
    # A position's window reaches from its first to its last input, and no less than to the border's padding.
    first, last = min(*places, 0, size - count), max(*places, 0, size - count)
    positions = Axis(size, count, last - first + 1, 1, 1, -first, count - 1 + last - (size - 1))
    return Phases(stride, made, tuple(phase), tuple(place - first for place in places), positions)


class TransposedLowering(ConvLowering):
    """The lowering of one transposed convolution; making it proves that it can be lowered (else NotLowerableError)."""

    def __init__(self, context: Context, layer: IntLayer) -> None:
        sizes = zip(
            layer.inputs[0].nchw[2:],
            layer.output.nchw[2:],
            layer.kernel,
            layer.strides,
            layer.dilations,
            layer.pads[:2],
            strict=True,
        )
        self._down, self._across = (axis_phases(*axis) for axis in sizes)
        more = [len(axis.phase) - size for axis, size in zip((self._down, self._across), layer.kernel, strict=True)]
        if any(more) and context.cfg.wgt_width == 1:
            raise NotLowerableError(
                "its kernel leaves outputs out: they need weights of 0, which 1-bit weights cannot be"
            )
        weight = np.pad(layer.weight, ((0, 0), (0, 0), (0, more[0]), (0, more[1])))
        super().__init__(context, replace(layer, weight=weight))

    def _geometry(self) -> ConvGeometry:
        cfg, layer = self._cfg, self._layer
        (n, c, _, width), limit = layer.inputs[0].nchw, insn_fields(cfg, Opcode.LOAD)["x_stride"].max
        for axis in (self._down, self._across):
            check_pads(cfg, axis.positions)
        if max(width, self._across.made) > limit:
            raise NotLowerableError(f"its rows are longer than the {limit} elements that LOAD and STORE can step over")
        return ConvGeometry(
            ceil_div(n, cfg.batch),
            ceil_div(len(layer.weight), cfg.block_out),
            ceil_div(c, cfg.block_in),
            rows=self._down.positions,
            cols=self._across.positions,
            most_rows=most_rows(cfg, layer),
            phases=self._down.stride * self._across.stride,
            kernel=len(self._down.phase) * len(self._across.phase),
        )

    def _plan(self) -> Requantization:
        """Taps of other phases would have met pad_value: what they would have added is a constant of each phase."""
        plan = plan_requantization(self._cfg, self._layer)
        missing = self._missing()
        if not missing.any():
            return plan
        blocks = self.geometry.out_blocks
        tiles = [tile_channels(item, self._cfg.batch, self._cfg.block_out)[:blocks] for item in missing]
        return replace(plan, vectors=np.stack(tiles))

    def _missing(self) -> Ints:
        """[phases, channels]: pad_value times the weights of all other phases."""
        weight, value = self._layer.weight.sum(axis=1), self._layer.pad_value
        found = []
        for p, q in np.ndindex(self._down.stride, self._across.stride):
            other = (np.array(self._down.phase) != p)[:, None] | (np.array(self._across.phase) != q)
            found.append(value * (weight * other).sum(axis=(1, 2)))
        return np.array(found)

    def _read_weights(self) -> None:
        super()._read_weights()
        pattern = self.geometry.pattern
        if pattern is not None:
            self.geometry = replace(self.geometry, pattern=replace(pattern, starts=self.geometry.phases))

    def key(self) -> tuple[Hashable, ...]:
        return *super().key(), self._down, self._across, len(self.plan.vectors)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        number = len(self.plan.vectors)
        by_phase = 2 if number and not self.plan.passes else 0
        cycles = (self.plan.cycles + by_phase) * self.geometry.phases
        return best_tilings(self._cfg, self.geometry, cycles, number, count)

    def _start_sums(self, kept: Used) -> None:
        for p, y in enumerate(self._down.first_taps):
            for q, x in enumerate(self._across.first_taps):
                rows, cols = np.array(self._down.phase) == p, np.array(self._across.phase) == q
                kept[~kept[:, :, rows][..., cols].any(axis=(1, 2, 3)), 0, y, x] = True

    # Accumulators --------------------------------------------------------------------------
    def _accumulators(self, tiling: Tiling) -> int:
        return super()._accumulators(tiling) * self.geometry.phases

    def _vectors(self, position: Position) -> int:
        return super()._vectors(position) * self.geometry.phases

    def _output_steps(self, width: int) -> tuple[int, int]:
        return self._down.stride * self._across.stride * width, self._across.stride

    def _table(self, slots: tuple[int, int, int], position: Position, kept: Used) -> UopTable:
        half, inp_slot, wgt_slot = slots
        width = self.geometry.cols.window(position.cols.count)
        o, i, y, x = np.nonzero(kept)
        phase = np.array(self._down.phase)[y], np.array(self._across.phase)[x]
        place = np.array(self._down.place)[y], np.array(self._across.place)[x]
        row = position.cols.count * self._across.stride
        dst = self._acc.base(half) + o * self._block_pitch(position) + phase[0] * row + phase[1]
        src = self._inp_base(inp_slot) + i * self._inp_pitch(position) + place[0] * width + place[1]
        table = np.stack([dst, src, self._wgt_base(wgt_slot) + np.arange(len(o))], axis=-1).astype(np.int64)
        if not self._acc.overlap:
            return table
        first = np.zeros(len(table), np.bool_)
        first[np.unique(dst, return_index=True)[1]] = True
        return np.concatenate([table[first], table[~first]])

    def _end_tile(self, half: int, position: Position, out: Part) -> None:
        if not len(self.plan.vectors) or self.plan.passes:
            super()._end_tile(half, position, out)
            return
        self._acc.then([*self._constants(half, position, out), partial(self._store, half, position, out)])
        if not self._acc.overlap:
            self._acc.finish()

    def _constants(self, half: int, position: Position, out: Part) -> list[Callable[[], None]]:
        """An ALU instruction for each phase."""
        height, width = position.rows.count, position.cols.count
        down, beside = self._output_steps(width)
        loops = {"iter_out": height, "iter_in": width, "dst_factor_in": beside if width > 1 else 0}
        loops["dst_factor_out"] = down if height > 1 else 0
        steps: list[Callable[[], None]] = []
        for number, (p, q) in enumerate(np.ndindex(self._down.stride, self._across.stride)):
            first = p * width * self._across.stride + q
            places = [(block, block * self._block_pitch(position) + first) for block in range(out.count)]
            steps.append(partial(self._acc.add_constant, half, number, out.first, places, loops))
        return steps

    # Stores --------------------------------------------------------------------------------
    def _store(self, half: int, position: Position, out: Part) -> None:
        """Whole planes at once, else rows; one by one where the last positions make less than others."""
        top, left = position.rows.first * self._down.stride, position.cols.first * self._across.stride
        pitch = position.cols.count * self._across.stride
        height = min(position.rows.count * self._down.stride, self._down.made - top)
        width = min(pitch, self._across.made - left)
        plane, line, block_pitch = self._down.made * self._across.made, self._across.made, self._block_pitch(position)
        start = (position.image * self.geometry.out_blocks + out.first) * plane + top * line + left
        name = self._layer.output.name
        if width == line == pitch and height * width == block_pitch and plane <= self._limits["x_stride"].max:
            shape = {"y_size": out.count, "x_size": height * width, "x_stride": plane, "dram_base": start}
            self._acc.store(half, name, out.first, 0, shape, each_row=True)
            return
        rows = height if width == pitch else 1
        for block in range(out.count):
            for row in range(0, height, rows):
                shape = {"y_size": rows, "x_size": width, "x_stride": line}
                place = shape | {"dram_base": start + block * plane + row * line}
                self._acc.store(half, name, out.first + block, block * block_pitch + row * pitch, place)
