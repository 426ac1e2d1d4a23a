"""Random requantization parameters."""

from __future__ import annotations

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.requant import LIMIT_BITS, MULTIPLIER_BITS, SHIFT_BITS, RequantParams


def random_requant(cfg: VTAConfig, rng: np.random.Generator, count: int) -> RequantParams:
    """[count, block_out] parameters of every kind: results that vary, ties, clamps, wide ones, arbitrary bits."""
    shape = (count, cfg.block_out)
    shift = rng.integers(0, 1 << SHIFT_BITS, size=shape)
    # Up to a shift of 40 accumulators of every size come out with about as many bits as an activation.
    useful = rng.random(shape) < 0.75
    shift = np.where(useful, rng.integers(0, 41, size=shape), shift)
    log = np.clip(shift - rng.integers(0, cfg.acc_width - cfg.inp_width + 2, size=shape), 0, MULTIPLIER_BITS - 1)
    multiplier = np.where(useful, 1 << log, 0) + np.where(
        rng.random(shape) < 0.6, rng.integers(0, 1 << np.where(useful, log, MULTIPLIER_BITS)), 0
    )
    limit = 1 << (LIMIT_BITS - 1)
    arbitrary = rng.integers(-limit, limit, size=(3, *shape))
    usual = np.stack(
        np.broadcast_arrays(rng.integers(cfg.inp_min, cfg.inp_max + 1, size=shape), cfg.inp_min, cfg.inp_max)
    )
    zero_point, low, high = np.where(rng.random(shape) < 0.7, usual, arbitrary)
    bias = rng.integers(-(1 << 31), 1 << 31, size=shape) >> rng.integers(0, 32, size=shape)
    wide = (rng.random(shape) < 0.2).astype(np.int64)
    return RequantParams(bias, multiplier, shift, wide, zero_point, low, high)
