"""What a scale costs: rounding and clipping error of a tensor, and rounding of weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .calibrate import TensorStats
from .types import IntType


def mean_error(stats: TensorStats, scale: float, kind: IntType, power: int = 2) -> float:
    """Mean of the ``power`` (2 or 3) of the magnitude of the error of a tensor quantized with ``scale``."""
    centres = stats.centres()
    steps = np.floor(centres / scale + 0.5)
    total = 0.0
    for counts, most in _sides(stats, kind):
        error = np.abs(centres - np.minimum(steps, most) * scale)
        # A product: numpy's power is slow beyond the square.
        total += float(np.dot(error**2 if power == 2 else error**2 * error, counts))
    return total / max(stats.total, 1)


def _sides(stats: TensorStats, kind: IntType) -> list[tuple[NDArray[np.int64], int]]:
    """Histograms of the magnitudes above and below zero, and the steps that the type has on that side."""
    sides = [(stats.counts - stats.negative, kind.high), (stats.negative, -kind.low)]
    return [(counts, most) for counts, most in sides if counts.any()]


def unclipped_scale(stats: TensorStats, kind: IntType) -> float:
    """The scale at which the greatest magnitude is the greatest integer; with a zero point the least that clips
    nothing."""
    if not kind.zero:
        return stats.largest / kind.high
    return max(stats.high / kind.high if kind.high else 0.0, stats.low / kind.low if kind.low else 0.0)


def signal_to_noise_db(stats: TensorStats, scale: float, kind: IntType) -> float:
    """Signal to quantization noise of a tensor, in dB (infinite without noise)."""
    return decibels(stats.mean_square(), mean_error(stats, scale, kind))


def saturated_share(stats: TensorStats, scale: float, kind: IntType) -> float:
    """Share of the values that the scale clips."""
    clipped = 0
    for counts, most in _sides(stats, kind):
        clipped += int(counts[stats.centres() > (most + 0.5) * scale].sum())
    return clipped / max(stats.total, 1)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise)."""
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


Limits = tuple[int, int]
"""Least and greatest integer of weights."""


def round_weights(flat: NDArray[np.float64], scales: NDArray[np.float64], limits: Limits) -> NDArray[np.int64]:
    """Nearest integers of ``flat`` [channels, n] at ``scales`` [channels], within the limits."""
    return np.clip(np.floor(flat / scales[:, None] + 0.5), *limits).astype(np.int64)


def best_weight_scales(
    flat: NDArray[np.float64], trials: list[NDArray[np.float64]], limits: Limits
) -> NDArray[np.float64]:
    """Of the scales [channels] in ``trials`` the one of least squared error for each row of ``flat`` [channels, n]."""
    best, least = trials[0], np.full(len(flat), np.inf)
    for trial in trials:
        error = ((flat - round_weights(flat, trial, limits) * trial[:, None]) ** 2).sum(axis=1)
        better = error < least
        best, least = np.where(better, trial, best), np.where(better, error, least)
    return best
