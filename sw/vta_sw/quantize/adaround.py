"""Weights rounded up or down so that a layer's output stays what it was in float.

After Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020): each weight's fraction is a
variable h in [0, 1], moved by Adam to the least squared error behind the activation function, and a penalty that
grows pushes it to 0 or 1. Inputs come from the network quantized so far, targets from the float network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .scales import Limits
from .unfolding import Windows
from .weights import Rounded

Floats = NDArray[np.float32]

_STRETCH_LOW, _STRETCH_HIGH = -0.1, 1.1
"""h = clip(sigmoid(v) * (high - low) + low, 0, 1), as in the paper."""
_RATE, _BIAS_RATE, _SCALE_RATE = 1e-1, 1e-3, 1e-2
_DECAY = (0.9, 0.999)
_TINY = 1e-8
_PENALTY = 0.02
_WARM_UP = 0.2
"""Part of the steps without penalty."""
_SHARP, _SOFT = 2.0, 20.0
"""Exponent of the penalty at the end and at the beginning."""
_BATCH = 2048


@dataclass
class _Adam:
    """Moments of one variable."""

    rate: float
    mean: Floats
    square: Floats

    @classmethod
    def of(cls, value: Floats, rate: float) -> _Adam:
        return cls(rate, np.zeros_like(value), np.zeros_like(value))

    def step(self, gradient: Floats, number: int) -> Floats:
        """What to subtract from the variable in step ``number`` (from 1)."""
        first, second = _DECAY
        self.mean += (1 - first) * (gradient - self.mean)
        self.square += (1 - second) * (gradient**2 - self.square)
        mean, square = self.mean / (1 - first**number), self.square / (1 - second**number)
        return np.asarray(self.rate * mean / (np.sqrt(square) + _TINY), np.float32)


def fit_rounding(
    flat: NDArray[np.float64],
    bias: NDArray[np.float64],
    scales: NDArray[np.float64],
    limits: Limits,
    windows: Windows,
    *,
    bounds: tuple[float, float],
    steps: int,
    free: bool,
    rng: np.random.Generator,
) -> Rounded:
    """Integers of ``flat`` [channels, depth] at ``scales`` [channels], and what the bias gets on top.

    ``bounds``: of the activation function behind the layer. ``free``: scales are fitted with the integers; these are
    those above and below at the ``scales`` given.
    """
    groups, samples, _ = windows.inputs.shape
    shape = (groups, len(flat) // groups, flat.shape[1])
    step = scales.reshape(groups, -1, 1).astype(np.float32)
    lower = np.floor(flat / scales[:, None]).reshape(shape).astype(np.float32)
    start = np.clip((flat / scales[:, None]).reshape(shape) - lower, 0.01, 0.99).astype(np.float32)
    inner = (start - _STRETCH_LOW) / (_STRETCH_HIGH - _STRETCH_LOW)
    v = np.log(inner / (1 - inner)).astype(np.float32)
    base = bias.reshape(groups, 1, -1).astype(np.float32)
    shift = np.zeros_like(base)
    power = float(np.mean(windows.outputs.astype(np.float64) ** 2)) or 1.0
    stretch = np.zeros_like(step)
    movers = _Adam.of(v, _RATE), _Adam.of(shift, _BIAS_RATE * float(np.sqrt(power))), _Adam.of(stretch, _SCALE_RATE)
    with threadpool_limits(1, "blas"):  # its products are small: more threads wait for each other
        for number in range(1, steps + 1):
            at = rng.integers(0, samples, min(_BATCH, samples))
            x, target = windows.inputs[:, at], windows.outputs[:, at]
            sigmoid = 1 / (1 + np.exp(-v))
            h: Floats = np.clip(sigmoid * (_STRETCH_HIGH - _STRETCH_LOW) + _STRETCH_LOW, 0, 1).astype(np.float32)
            integers = lower + h
            inside = (integers > limits[0]) & (integers < limits[1])
            stretched = step * np.exp(stretch)
            weight = np.clip(integers, *limits) * stretched
            y = np.matmul(x, weight.transpose(0, 2, 1)) + base + shift
            active = (y > bounds[0]) & (y < bounds[1])
            error = (np.clip(y, *bounds) - target) * active / np.float32(power * len(at))
            gradient = np.matmul(error.transpose(0, 2, 1), x)
            if free:
                stretch -= movers[2].step((gradient * weight).sum(axis=2, keepdims=True), number)
            slope = ((h > 0) & (h < 1)) * sigmoid * (1 - sigmoid) * (_STRETCH_HIGH - _STRETCH_LOW)
            gradient = gradient * stretched * inside + _penalty(h, number / steps)
            v -= movers[0].step(np.asarray(gradient * slope, np.float32), number)
            shift -= movers[1].step(error.sum(axis=1, keepdims=True), number)
    h = np.clip((_STRETCH_HIGH - _STRETCH_LOW) / (1 + np.exp(-v)) + _STRETCH_LOW, 0, 1)
    rounded = np.clip(lower + (h >= 0.5), *limits).astype(np.int64).reshape(flat.shape)
    fitted = scales.astype(np.float32) * np.exp(stretch.reshape(-1))
    return Rounded(rounded, fitted.astype(np.float64) if free else scales, shift.reshape(-1).astype(np.float64))


def _penalty(h: Floats, progress: float) -> Floats:
    """Gradient of sum(1 - |2h - 1|**beta); beta falls from soft to sharp behind the warm-up."""
    if progress < _WARM_UP:
        return np.zeros_like(h)
    along = (progress - _WARM_UP) / (1 - _WARM_UP)
    beta = _SHARP + 0.5 * (_SOFT - _SHARP) * (1 + np.cos(along * np.pi))
    away = 2 * h - 1
    return np.asarray(-_PENALTY * 2 * beta * np.sign(away) * np.abs(away) ** (beta - 1) / h.size, np.float32)
