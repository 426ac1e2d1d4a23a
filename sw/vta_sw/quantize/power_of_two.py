"""Power-of-two scales that minimise the squared error of rounding and clipping."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .calibrate import TensorStats
from .scales import Limits, best_weight_scales, mean_error
from .types import IntType

_FINER_STEPS = 4
"""How many scales below the one that clips nothing are tried."""


def ceiling_exponent(largest: float, levels: int) -> int:
    """Least e with ``largest`` <= levels * 2**e."""
    if largest <= 0.0:
        return 0
    exponent = math.frexp(largest / levels)[1] - 1
    return exponent if largest <= math.ldexp(levels, exponent) else exponent + 1


def search_activation_scale(stats: TensorStats, kind: IntType) -> float:
    """The scale of least squared error. A tensor that is always zero gets 1."""
    top = ceiling_exponent(stats.largest, kind.high)
    candidates = [math.ldexp(1.0, exponent) for exponent in range(top, top - _FINER_STEPS - 1, -1)]
    return min(candidates, key=lambda scale: mean_error(stats, scale, kind))


def search_weight_scales(flat: NDArray[np.float64], limits: Limits, *, clip: bool = True) -> NDArray[np.float64]:
    """Scale of least squared error for each row of ``flat`` [channels, n]; 1 for a row of zeros.

    Without ``clip`` the least one that clips nothing.
    """
    largest = np.abs(flat).max(axis=1, initial=0.0)
    top = np.array([ceiling_exponent(float(value), limits[1]) for value in largest])
    return best_weight_scales(
        flat, [np.ldexp(1.0, top - step) for step in range(_FINER_STEPS + 1 if clip else 1)], limits
    )
