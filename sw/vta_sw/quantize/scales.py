"""Power-of-two scales that minimise the squared error of rounding and clipping."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .calibrate import TensorStats
from .types import IntType

_FINER_STEPS = 4
"""How many scales below the one that clips nothing are tried."""


def ceiling_exponent(largest: float, levels: int) -> int:
    """Least e with ``largest`` <= levels * 2**e."""
    if largest <= 0.0:
        return 0
    exponent = math.frexp(largest / levels)[1] - 1
    return exponent if largest <= math.ldexp(levels, exponent) else exponent + 1


def squared_error(stats: TensorStats, exponent: int, kind: IntType) -> float:
    """Mean squared error of a tensor quantized with scale 2**exponent."""
    centres, scale = stats.centres(), math.ldexp(1.0, exponent)
    rounded = np.minimum(np.floor(centres / scale + 0.5), kind.high) * scale
    return float(np.dot((centres - rounded) ** 2, stats.counts)) / max(stats.total, 1)


def search_activation_exponent(stats: TensorStats, kind: IntType) -> int:
    """The exponent of least squared error. A tensor that is always zero gets 0."""
    top = ceiling_exponent(stats.largest, kind.high)
    candidates = range(top, top - _FINER_STEPS - 1, -1)
    return min(candidates, key=lambda exponent: squared_error(stats, exponent, kind))


def signal_to_noise_db(stats: TensorStats, exponent: int, kind: IntType) -> float:
    """Signal to quantization noise of a tensor, in dB (infinite without noise)."""
    signal = float(np.dot(stats.centres() ** 2, stats.counts)) / max(stats.total, 1)
    return decibels(signal, squared_error(stats, exponent, kind))


def saturated_share(stats: TensorStats, exponent: int, kind: IntType) -> float:
    """Share of the values that the scale clips."""
    limit = math.ldexp(kind.high + 0.5, exponent)
    return float(stats.counts[stats.centres() > limit].sum()) / max(stats.total, 1)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise)."""
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def round_weights(flat: NDArray[np.float64], exponents: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Nearest integers of ``flat`` [channels, n] at scales 2**exponents, limited to +-limit."""
    scaled = np.ldexp(flat, -exponents[:, None].astype(np.int32))
    return np.clip(np.floor(scaled + 0.5), -limit, limit).astype(np.int64)


def search_weight_exponents(flat: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Exponent of least squared error for each row of ``flat`` [channels, n]; 0 for a row of zeros."""
    largest = np.abs(flat).max(axis=1, initial=0.0)
    top = np.array([ceiling_exponent(float(value), limit) for value in largest], dtype=np.int64)
    best, least = top.copy(), np.full(len(flat), np.inf)
    for step in range(_FINER_STEPS + 1):
        trial = top - step
        rounded = np.ldexp(round_weights(flat, trial, limit).astype(np.float64), trial[:, None].astype(np.int32))
        error = ((flat - rounded) ** 2).sum(axis=1)
        better = error < least
        best, least = np.where(better, trial, best), np.where(better, error, least)
    return best
