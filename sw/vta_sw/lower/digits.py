"""Lower a convolution whose weights are wider than the configuration's: digit by digit, the most significant first.

Between two digits the ALU shifts the sums so far to the left, so the products of all digits meet in one accumulator.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.isa import AluOp

from ..graph.types import IntLayer, Ints
from .context import Context
from .conv import ConvLowering
from .errors import NotLowerableError
from .parts import Part, Position, parts_of
from .requantize import check_range, conv_bounds
from .tiling import Tiling
from .weight_parts import MOST_PARTS, weight_parts
from .weight_tiles import TilePattern, Used, WeightTiles, used_key


@dataclass(frozen=True)
class DigitPart(Part):
    """A part of the input blocks, met by the weights' digit of number ``digit``, counted from the least significant."""

    digit: int


def needs_digits(cfg: VTAConfig, layer: IntLayer) -> bool:
    """Whether a layer has weights that are no sums of few, and can be lowered in digits."""
    able = layer.op == "conv" and not layer.is_depthwise and layer.requant is not None and layer.fused is None
    return able and cfg.wgt_width > 1 and weight_parts(cfg, layer.weight) > MOST_PARTS


def weight_digits(cfg: VTAConfig, weight: Ints) -> list[Ints]:
    """Digits that weights of ``cfg`` can be, the least significant first; digit k counts 2**(k * wgt_width)."""
    digits: list[Ints] = []
    base, rest = 1 << cfg.wgt_width, weight
    while not digits or rest.any():
        digits.append((rest - cfg.wgt_min) % base + cfg.wgt_min)
        rest = (rest - digits[-1]) // base
    return digits


class DigitConvLowering(ConvLowering):
    """The lowering of such a convolution; making it proves that it can be lowered (else NotLowerableError)."""

    def __init__(self, context: Context, layer: IntLayer) -> None:
        self._values = weight_digits(context.cfg, layer.weight)
        _check_sums(context.cfg, layer, self._values)
        super().__init__(context, layer)

    def _read_weights(self) -> None:
        self._digits = [WeightTiles(self._cfg, replace(self._layer, weight=value)) for value in self._values]
        used = np.concatenate([tiles.used for tiles in self._digits], axis=3)
        self._pattern_key = used_key(used)[1]
        counts = used.sum(axis=(2, 3)).astype(np.uint32)
        self.geometry = replace(self.geometry, pattern=TilePattern(counts.shape[0], counts.shape[1], counts.tobytes()))

    def key(self) -> tuple[Hashable, ...]:
        return *super().key(), len(self._digits)

    def _weight_tiles(self) -> NDArray[np.integer]:
        found = []
        for (out, into), (kept, _) in self._weight_parts(self.tiling).items():
            assert isinstance(into, DigitPart), "parts are of one digit"
            found.append(self._digits[into.digit].of_part(out.first, into.first, kept))
        return np.concatenate(found)

    def _weight_parts(self, tiling: Tiling) -> dict[tuple[Part, Part], tuple[Used, int]]:
        found: dict[tuple[Part, Part], tuple[Used, int]] = {}
        place = 0
        for out in parts_of(self.geometry.out_blocks, tiling.out_blocks):
            pieces = []
            for digit in reversed(range(len(self._digits))):
                rows = self._digits[digit].used[out.first : out.first + out.count]
                for part in parts_of(self.geometry.in_blocks, tiling.in_blocks):
                    pieces.append((DigitPart(part.first, part.count, digit), rows[:, part.first :][:, : part.count]))
            active = [item for item in pieces if item[1].any()] or pieces[:1]
            for number, (part, used) in enumerate(active):
                kept = used.copy()
                if number == 0:
                    kept[~kept.any(axis=(1, 2, 3)), 0, 0, 0] = True
                found[out, part] = kept, place
                place += int(np.count_nonzero(kept))
        return found

    def _emit_tile(self, half: int, position: Position, out: Part) -> None:
        vectors = position.rows.count * position.cols.count
        digit: int | None = None
        for into in self._ins[out]:
            assert isinstance(into, DigitPart), "parts are of one digit"
            wgt_slot, missing = self._wgt_slots.get((out, into))
            if missing:
                self._load_weights(wgt_slot, out, into)
            inp_slot, missing = self._inp_slots.get((position, into.first))
            if missing:
                self._load_input(inp_slot, position, into)
            if digit is None:
                self._acc.begin(half, out.first, out.count, vectors)
            else:
                self._shift(half, digit - into.digit, out.count, vectors)
            self._gemm((half, inp_slot, wgt_slot), position, out, into, first=digit is None)
            digit = into.digit
            self._acc.go_on()
        self._shift(half, digit or 0, out.count, vectors)
        self._acc.finish()
        self._end_tile(half, position, out)

    def _shift(self, half: int, digits: int, blocks: int, vectors: int) -> None:
        """The sums so far times the weight of so many digits."""
        if digits:
            self._acc.immediate(half, AluOp.SHR, -digits * self._cfg.wgt_width, blocks, vectors)


def _check_sums(cfg: VTAConfig, layer: IntLayer, digits: list[Ints]) -> None:
    """Raises NotLowerableError where a sum of the most significant digits could leave the accumulators."""
    whole = np.zeros_like(layer.weight)
    for value in reversed(digits):
        whole = (whole << cfg.wgt_width) + value
        check_range(cfg, *conv_bounds(replace(layer, weight=whole)), "a sum of digits")
    if len(digits) * cfg.wgt_width >= cfg.acc_width:
        raise NotLowerableError(f"its weights of up to {np.abs(layer.weight).max()} have too many digits")
