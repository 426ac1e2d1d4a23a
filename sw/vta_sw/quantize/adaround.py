"""Weights rounded up or down so that a layer's output stays what it was in float.

After Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020): each weight's fraction is a
variable h in [0, 1], moved by Adam to the least squared error behind the activation function, and a penalty that
grows pushes it to 0 or 1. Inputs come from the network quantized so far, targets from the float network; where an
addition alone reads the layer, they are the sums, which makes up for errors of the other input, too.
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
    power = float(np.mean(windows.outputs.astype(np.float64) ** 2)) or 1.0
    layer = _Layer.of(flat, scales, limits, groups, power)
    base = bias.reshape(groups, 1, -1).astype(np.float32)
    with threadpool_limits(1, "blas"):  # its products are small: more threads wait for each other
        for number in range(1, steps + 1):
            at = rng.integers(0, samples, min(_BATCH, samples))
            x, target = windows.inputs[:, at], windows.outputs[:, at]
            rounding = layer.rounding()
            y = np.matmul(x, rounding.weight.transpose(0, 2, 1)) + base + layer.shift
            if windows.added is not None:
                y += windows.added[:, at]
            active = (y > bounds[0]) & (y < bounds[1])
            error = (np.clip(y, *bounds) - target) * active / np.float32(power * len(at))
            layer.step(rounding, x, error, number, number / steps, free=free)
    return layer.found(flat.shape, scales, free=free)


@dataclass(frozen=True)
class _Soft:
    """Weights [groups, channels, depth] while they are between two integers."""

    sigmoid: Floats
    h: Floats
    """Part of the way up from the lower integer."""
    inside: NDArray[np.bool_]
    """Where the limits do not clip."""
    step: Floats
    weight: Floats


@dataclass
class _Layer:
    """What is fitted of a layer, with its optimizers."""

    limits: Limits
    lower: Floats
    scale: Floats
    v: Floats
    shift: Floats
    """Of the bias."""
    stretch: Floats
    """Logarithm of what scales are multiplied by."""
    movers: tuple[_Adam, _Adam, _Adam]

    @classmethod
    def of(
        cls, flat: NDArray[np.float64], scales: NDArray[np.float64], limits: Limits, groups: int, power: float
    ) -> _Layer:
        """At the float weights. ``power``: mean square of the outputs."""
        exact = (flat / scales[:, None]).reshape(groups, -1, flat.shape[1])
        lower = np.floor(exact).astype(np.float32)
        inner = (np.clip(exact - lower, 0.01, 0.99) - _STRETCH_LOW) / (_STRETCH_HIGH - _STRETCH_LOW)
        v = np.log(inner / (1 - inner)).astype(np.float32)
        scale = scales.reshape(groups, -1, 1).astype(np.float32)
        shift, stretch = np.zeros((groups, 1, exact.shape[1]), np.float32), np.zeros_like(scale)
        rates = (v, _RATE), (shift, _BIAS_RATE * float(np.sqrt(power))), (stretch, _SCALE_RATE)
        bits, bias, scaling = (_Adam.of(value, rate) for value, rate in rates)
        return cls(limits, lower, scale, v, shift, stretch, (bits, bias, scaling))

    def rounding(self) -> _Soft:
        """Where the weights are now."""
        sigmoid = np.asarray(1 / (1 + np.exp(-self.v)), np.float32)
        h: Floats = np.clip(sigmoid * (_STRETCH_HIGH - _STRETCH_LOW) + _STRETCH_LOW, 0, 1).astype(np.float32)
        integers, step = self.lower + h, self.scale * np.exp(self.stretch)
        inside = (integers > self.limits[0]) & (integers < self.limits[1])
        weight: Floats = np.clip(integers, *self.limits) * step
        return _Soft(sigmoid, h, inside, step, weight)

    def step(self, soft: _Soft, x: Floats, error: Floats, number: int, progress: float, *, free: bool) -> None:
        """Move all against the gradient. ``error`` [groups, samples, channels]: that of the loss by the outputs."""
        gradient = np.matmul(error.transpose(0, 2, 1), x)
        if free:
            self.stretch -= self.movers[2].step((gradient * soft.weight).sum(axis=2, keepdims=True), number)
        between = (soft.h > 0) & (soft.h < 1)
        slope = between * soft.sigmoid * (1 - soft.sigmoid) * (_STRETCH_HIGH - _STRETCH_LOW)
        gradient = gradient * soft.step * soft.inside + _penalty(soft.h, progress)
        self.v -= self.movers[0].step(np.asarray(gradient * slope, np.float32), number)
        self.shift -= self.movers[1].step(error.sum(axis=1, keepdims=True), number)

    def found(self, shape: tuple[int, ...], scales: NDArray[np.float64], *, free: bool) -> Rounded:
        """The nearer integers."""
        up = self.rounding().h >= 0.5
        rounded = np.clip(self.lower + up, *self.limits).astype(np.int64).reshape(shape)
        fitted = scales.astype(np.float32) * np.exp(self.stretch.reshape(-1)) if free else scales
        return Rounded(rounded, fitted.astype(np.float64), self.shift.reshape(-1).astype(np.float64))


def _penalty(h: Floats, progress: float) -> Floats:
    """Gradient of sum(1 - |2h - 1|**beta); beta falls from soft to sharp behind the warm-up."""
    if progress < _WARM_UP:
        return np.zeros_like(h)
    along = (progress - _WARM_UP) / (1 - _WARM_UP)
    beta = _SHARP + 0.5 * (_SOFT - _SHARP) * (1 + np.cos(along * np.pi))
    away = 2 * h - 1
    return np.asarray(-_PENALTY * 2 * beta * np.sign(away) * np.abs(away) ** (beta - 1) / h.size, np.float32)
