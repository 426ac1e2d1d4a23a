"""The arithmetic of the machine: wrap, saturate, shift, requantize.

Quantizer, integer reference, functional simulator and tests use these functions; the hardware is
compared with them. All arrays are integers; results are int64 unless said otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def wrap(value: NDArray[np.integer], bits: int) -> Ints:
    """The low ``bits`` of each value as two's complement."""
    half = np.int64(1) << np.int64(bits - 1)
    mask = (np.int64(1) << np.int64(bits)) - np.int64(1)
    return ((value.astype(np.int64) + half) & mask) - half


def saturate(value: NDArray[np.integer], low: int, high: int) -> Ints:
    """Each value limited to [low, high]."""
    return np.clip(value.astype(np.int64), low, high)


def shift_right(value: NDArray[np.integer], amount: NDArray[np.integer] | int, bits: int) -> Ints:
    """ALU SHR: arithmetic and truncating; a negative amount shifts left and wraps at ``bits``.

    The magnitude of the amount saturates at ``bits - 1``.
    """
    amount = np.clip(np.asarray(amount, dtype=np.int64), -(bits - 1), bits - 1)
    wide = value.astype(np.int64)
    right = wide >> np.maximum(amount, 0)
    left = wrap(wide << np.maximum(-amount, 0), bits)
    return np.where(amount < 0, left, right)


def multiply_low(left: NDArray[np.integer], right: NDArray[np.integer] | int, bits: int) -> Ints:
    """ALU MUL: the low ``bits`` of the product, as two's complement."""
    return wrap(left.astype(np.int64) * np.asarray(right, dtype=np.int64), bits)


def round_shift(value: NDArray[np.integer], amount: NDArray[np.integer] | int) -> Ints:
    """value / 2**amount rounded half up, exactly; a negative amount multiplies.

    This is what ADD of half a step followed by SHR computes.
    """
    amount = np.asarray(amount, dtype=np.int64)
    right = np.maximum(amount, 0)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    wide = value.astype(np.int64)
    left = wide << np.maximum(-amount, 0)
    return np.asarray(np.where(amount < 0, left, (wide + half) >> right))


def requantize_shift(
    acc: NDArray[np.integer], bias: NDArray[np.integer] | int, amount: NDArray[np.integer] | int, low: int, high: int
) -> Ints:
    """``shift`` requantization: clip(round_half_up((acc + bias) / 2**amount), low, high).

    ``bias`` and ``amount`` broadcast against ``acc`` (a scalar, or one a channel in the last axis).
    """
    return saturate(round_shift(acc.astype(np.int64) + bias, amount), low, high)
