"""Requantization parameters (extension ``requant``): one set for each output channel, and what they mean.

    y = clip(round_half_even((acc + bias) * multiplier / 2**shift) + zero_point, low, high)

exactly, with nothing rounded or wrapped in between. With ``wide`` the rounded value itself, saturated to the
accumulator's width, is the result. A vector of parameters is block_out sets of 16 bytes, channel by channel. A
multiplier of 24 bits holds the whole fraction of a float32 scale.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .config import REQ_CHANNEL_BYTES
from .errors import DataError
from .isa import Field

MULTIPLIER_BITS = 24
SHIFT_BITS = 6
LIMIT_BITS = 10
"""Signed bits of zero point and clamp: every activation type, and one more."""

REQ_FIELDS: dict[str, Field] = {
    item.name: item
    for item in (
        Field("bias", 0, 32, True, "added to the accumulator"),
        Field("multiplier", 32, MULTIPLIER_BITS, False, "factor"),
        Field("shift", 56, SHIFT_BITS, False, "binary places of the product that are rounded away"),
        Field("wide", 62, 1, False, "no zero point and no clamp: saturate to the accumulator's width"),
        Field("zero_point", 64, LIMIT_BITS, True, "added to the rounded value"),
        Field("low", 74, LIMIT_BITS, True, "least result"),
        Field("high", 84, LIMIT_BITS, True, "greatest result; it prevails over low"),
    )
}
"""Fields of one channel's 128 bits, counted from the least significant; all other bits are ignored."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RequantParams:
    """Parameters of channels: int64 arrays of one shape."""

    bias: Ints
    multiplier: Ints
    shift: Ints
    wide: Ints
    zero_point: Ints
    low: Ints
    high: Ints

    def pack(self) -> NDArray[np.uint8]:
        """As uint8 [..., 16]. Raises DataError naming a field whose value does not fit."""
        words = np.zeros((*self.bias.shape, REQ_CHANNEL_BYTES // 4), np.uint32)
        for item in REQ_FIELDS.values():
            values: Ints = getattr(self, item.name)
            if values.size and (values.min() < item.min or values.max() > item.max):
                worst = int(values.max() if values.max() > item.max else values.min())
                raise DataError(f"requantization {item.name} = {worst}: must be from {item.min} to {item.max}")
            place, low = divmod(item.low, 32)
            words[..., place] |= (values & item.mask).astype(np.uint32) << np.uint32(low)
        return words.astype("<u4").view(np.uint8).reshape(*self.bias.shape, REQ_CHANNEL_BYTES)

    @classmethod
    def unpack(cls, raw: NDArray[np.uint8]) -> RequantParams:
        """From uint8 [..., 16]."""
        words = np.ascontiguousarray(raw).view("<u4").astype(np.int64)
        values = {}
        for item in REQ_FIELDS.values():
            place, low = divmod(item.low, 32)
            value = (words[..., place] >> low) & item.mask
            values[item.name] = np.where(value > item.max, value - (item.mask + 1), value)
        return cls(**values)

    def __getitem__(self, index: object) -> RequantParams:
        """The parameters of some channels."""
        return RequantParams(**{item.name: getattr(self, item.name)[index] for item in fields(self)})


def fixed_point(scale: NDArray[np.float32]) -> tuple[Ints, Ints]:
    """Multiplier and shift of float32 scales: scale = multiplier / 2**shift, exactly where it is 2**-40 or more.

    Raises DataError for a scale that is negative, not finite, or 2**24 and more.
    """
    bad = ~np.isfinite(scale) | (scale < 0) | (scale >= 1 << MULTIPLIER_BITS)
    if bad.any():
        raise DataError(f"requantization scale {scale[bad][0]}: must be from 0 to below 2**{MULTIPLIER_BITS}")
    fraction, exponent = np.frexp(scale.astype(np.float64))
    shift = np.where(scale == 0, 0, MULTIPLIER_BITS - exponent.astype(np.int64))
    most = (1 << SHIFT_BITS) - 1
    multiplier = np.rint(np.ldexp(fraction, MULTIPLIER_BITS - np.maximum(shift - most, 0)))
    return multiplier.astype(np.int64), np.minimum(shift, most)


def requantize(acc: NDArray[np.integer], params: RequantParams, acc_width: int) -> Ints:
    """The arithmetic of the extension; ``params`` broadcast against ``acc`` (channels in the last axis)."""
    product = (acc.astype(np.int64) + params.bias) * params.multiplier
    rounded = _round_half_even(product, params.shift)
    narrow = np.minimum(np.maximum(rounded + params.zero_point, params.low), params.high)
    limit = 1 << (acc_width - 1)
    return np.where(params.wide != 0, np.clip(rounded, -limit, limit - 1), narrow)


def _round_half_even(value: Ints, shift: Ints) -> Ints:
    floor: Ints = value >> shift
    rest = value - (floor << shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 1)
    up = (rest > half) | ((rest == half) & (floor & 1 == 1))
    return np.asarray(floor + (up & (shift > 0)), np.int64)
