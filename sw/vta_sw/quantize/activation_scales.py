"""The scale of an activation from its histogram, by the calibration mode."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import ModelError

from ..quantize_choices import CalibrateMode
from . import any_scale, power_of_two
from .calibrate import BINS, TensorStats
from .scales import unclipped_scale
from .types import IntType

SCALE_LIMIT = 2.0**40
"""Activation scales stay within 2**-40 to 2**40, so that every product of scales is a normal float32."""
_KL_LEAST_BINS = 128
_KL_STEP = 16


def activation_scale(
    name: str, stats: TensorStats, kind: IntType, mode: CalibrateMode, value: float, *, powers: bool
) -> float:
    """The float32 scale of tensor ``name``; a power of two with ``powers``.

    ``value``: the percentile or the global scale where the mode has one. Raises ModelError for values that no
    scale can hold.
    """
    if mode is CalibrateMode.MSE:
        search = power_of_two.search_activation_scale if powers else any_scale.search_activation_scale
        scale = search(stats, kind)
    else:
        largest = clip_limit(stats, kind, mode, value)
        scale = largest / kind.high if largest > 0 else 1.0
        if powers:
            scale = math.ldexp(1.0, power_of_two.ceiling_exponent(largest, kind.high))
        elif kind.zero:
            scale = unclipped_scale(stats, kind)
        scale = float(np.float32(scale))
    if scale > SCALE_LIMIT:
        raise ModelError(f"tensor {name!r} reaches {stats.largest:.3g} on the calibration data: too large to quantize")
    return max(scale, 1 / SCALE_LIMIT)


def clip_limit(stats: TensorStats, kind: IntType, mode: CalibrateMode, value: float) -> float:
    """The greatest magnitude that is not clipped."""
    if mode is CalibrateMode.GLOBAL_SCALE:
        return value
    if mode is CalibrateMode.PERCENTILE and stats.counts.any():
        return percentile(stats, value)
    if mode is CalibrateMode.KL_DIVERGENCE and stats.largest > 0:
        return kl_limit(stats, kind)
    return stats.largest


def percentile(stats: TensorStats, percent: float) -> float:
    """The magnitude below which ``percent`` of all values are, to one bin of the histogram."""
    below = np.cumsum(stats.counts)
    at = int(np.searchsorted(below, below[-1] * percent / 100))
    return min(float(stats.centres()[min(at, BINS - 1)]), stats.largest)


def kl_limit(stats: TensorStats, kind: IntType) -> float:
    """The magnitude to clip at for the least Kullback-Leibler divergence of the quantized from the clipped histogram.

    After Migacz, "8-bit inference with TensorRT" (2017). Zeros, of which a Relu makes many, are left out: every scale
    holds them exactly.
    """
    levels = kind.high + 1
    counts = stats.counts.astype(np.float64)
    counts[0] -= stats.zeros
    last = int(np.flatnonzero(counts)[-1]) + 1
    first = min(max(_KL_LEAST_BINS, levels), last)
    tried = [*range(first, last, _KL_STEP), last]
    losses = [_divergence(counts, bins, levels) for bins in tried]
    return min(float(tried[int(np.argmin(losses))] * stats.bin_width()), stats.largest)


def _divergence(counts: NDArray[np.float64], bins: int, levels: int) -> float:
    """Divergence of ``counts[:bins]``, with the rest in its last bin, from ``counts[:bins]`` in ``levels`` steps.

    What is clipped is missing from the latter, so the divergence is that of masses, sum(p log(p / q) - p + q). Divided
    by their sums, as distributions, both were the same where nearly everything is clipped.
    """
    reference = counts[:bins].copy()
    reference[-1] += counts[bins:].sum()
    group = np.minimum(np.arange(bins) * levels // bins, levels - 1)
    used = counts[:bins] > 0
    sums = np.bincount(group, weights=counts[:bins], minlength=levels)
    members = np.bincount(group, weights=used, minlength=levels)
    spread = np.where(used, (sums / np.maximum(members, 1))[group], 0.0)
    total = reference.sum()
    both = (reference > 0) & (spread > 0)
    lost = reference[(reference > 0) & (spread == 0)].sum() / total
    p, q = reference / total, spread / total
    return float((p[both] * np.log(p[both] / q[both])).sum() - p.sum() + q.sum() + lost * math.log(2) * levels)
