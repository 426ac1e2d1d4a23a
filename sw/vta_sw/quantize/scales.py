"""What a scale costs: rounding and clipping error of a tensor, and rounding of weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .calibrate import TensorStats
from .types import IntType


def mean_error(stats: TensorStats, scale: float, kind: IntType, power: int = 2) -> float:
    """Mean of the error's ``power`` (even) of a tensor quantized with ``scale``."""
    centres = stats.centres()
    rounded = np.minimum(np.floor(centres / scale + 0.5), kind.high) * scale
    # The square of a square: numpy has no other fast power.
    powers = ((centres - rounded) ** 2) ** (power // 2)
    return float(np.dot(powers, stats.counts)) / max(stats.total, 1)


def signal_to_noise_db(stats: TensorStats, scale: float, kind: IntType) -> float:
    """Signal to quantization noise of a tensor, in dB (infinite without noise)."""
    signal = float(np.dot(stats.centres() ** 2, stats.counts)) / max(stats.total, 1)
    return decibels(signal, mean_error(stats, scale, kind))


def saturated_share(stats: TensorStats, scale: float, kind: IntType) -> float:
    """Share of the values that the scale clips."""
    limit = (kind.high + 0.5) * scale
    return float(stats.counts[stats.centres() > limit].sum()) / max(stats.total, 1)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise)."""
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def round_weights(flat: NDArray[np.float64], scales: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Nearest integers of ``flat`` [channels, n] at ``scales`` [channels], limited to +-limit."""
    return np.clip(np.floor(flat / scales[:, None] + 0.5), -limit, limit).astype(np.int64)


def best_weight_scales(flat: NDArray[np.float64], trials: list[NDArray[np.float64]], limit: int) -> NDArray[np.float64]:
    """Of the scales [channels] in ``trials`` the one of least squared error for each row of ``flat`` [channels, n]."""
    best, least = trials[0], np.full(len(flat), np.inf)
    for trial in trials:
        error = ((flat - round_weights(flat, trial, limit) * trial[:, None]) ** 2).sum(axis=1)
        better = error < least
        best, least = np.where(better, trial, best), np.where(better, error, least)
    return best
