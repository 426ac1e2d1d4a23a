"""Weights rounded one after the other, each of which makes up for the errors of those before it.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022). A
layer's squared error is the quadratic form of its weights' errors with the covariance of its inputs. When a weight is
rounded, the weights that are still free move to the least error, which the Cholesky factor of the inverse gives.
Inputs come from the network quantized so far; means are left to the bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .scales import Limits
from .unfolding import Windows
from .weights import Rounded, Rounder

Floats = NDArray[np.float64]

_DAMPING = 0.01
"""Part of the inputs' mean variance that is added to each, as in the paper: it keeps weights near the float ones."""
_LEAST_VARIANCE = 1e-12
"""Of inputs that never change."""


def in_turn(flat: Floats, limits: Limits, windows: Windows) -> Rounder:
    """Rounding of ``flat`` [channels, depth] for the inputs of ``windows``."""
    factor = _factor(windows)
    groups, depth = factor.shape[:2]

    def rounder(scales: Floats) -> Rounded:
        steps = (flat / scales[:, None]).reshape(groups, -1, depth)
        integers = np.empty_like(steps)
        with threadpool_limits(1, "blas"):
            for at in range(depth):
                integers[:, :, at] = np.clip(np.floor(steps[:, :, at] + 0.5), *limits)
                error = (steps[:, :, at] - integers[:, :, at]) / factor[:, None, at, at]
                steps[:, :, at + 1 :] -= error[:, :, None] * factor[:, None, at, at + 1 :]
        return Rounded(integers.astype(np.int64).reshape(flat.shape), scales)

    return rounder


def _factor(windows: Windows) -> Floats:
    """The upper Cholesky factors [groups, depth, depth] of the inverse covariances of the inputs."""
    inputs = windows.inputs - windows.inputs.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    covariance = np.matmul(inputs.transpose(0, 2, 1), inputs).astype(np.float64) / inputs.shape[1]
    diagonal = np.arange(covariance.shape[1])
    variance = covariance[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    covariance[:, diagonal, diagonal] += np.where(variance > 0, _DAMPING * variance, 1.0) + _LEAST_VARIANCE
    inverse = np.linalg.inv(covariance)
    return np.asarray(np.linalg.cholesky(inverse).transpose(0, 2, 1), np.float64)
