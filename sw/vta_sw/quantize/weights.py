"""Integer weights and biases of a layer, with a proof that its accumulators cannot overflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig

from .scales import decibels, round_weights, search_weight_exponents
from .types import WeightQuant, activation_type, weight_type

_LEAST_COARSENED_SNR_DB = 10.0
"""A layer whose weights are worse than this after making room in the accumulator stays float."""
_STEPS = 64


@dataclass(frozen=True)
class Accumulator:
    """Limits that every layer of a configuration keeps."""

    weight_limit: int
    """Greatest weight magnitude; the most negative weight is never used."""
    activation_limit: int
    """Greatest activation magnitude."""
    high: int
    shift_limit: int

    @classmethod
    def of(cls, cfg: VTAConfig) -> Accumulator:
        """The limits of a configuration."""
        kind = activation_type(cfg)
        return cls(weight_type(cfg).high, max(-kind.low, kind.high), cfg.acc_max, cfg.acc_width - 1)

    def fits(
        self, magnitude: NDArray[np.int64], bias: NDArray[np.float64], shift: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether sum|w| (``magnitude``) times the greatest activation, bias and half a step fit, shifted left too."""
        half = np.where(shift > 0, np.ldexp(0.5, np.maximum(shift, 0).astype(np.int32)), 0.0)
        bound = magnitude.astype(np.float64) * self.activation_limit + np.abs(bias) + half
        left = np.ldexp(bound, np.maximum(-shift, 0).astype(np.int32))
        return (left <= self.high) & (np.abs(shift) <= self.shift_limit)


def quantize_weights(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    input_exponent: int,
    output_exponent: int,
    cfg: VTAConfig,
    *,
    input_mean: NDArray[np.float64] | None = None,
) -> WeightQuant | str:
    """Integers of a layer whose weight is [out, in, ...]; or the reason why there are none.

    ``input_mean`` [in]: each input channel's mean; given, the bias takes back the mean error of the rounding.
    The accumulator's bound is sum|w| * max|x| + |bias| + half an output step; a channel that could pass it gets
    a coarser scale.
    """
    room = Accumulator.of(cfg)
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    real_bias = np.zeros(len(flat)) if bias is None else bias.astype(np.float64).reshape(-1)
    gap = output_exponent - input_exponent
    exponents = search_weight_exponents(flat, room.weight_limit)
    dead = ~flat.any(axis=1)
    exponents[dead] = gap - cfg.acc_width // 4
    searched = exponents.copy()
    exponents = np.clip(exponents, gap - room.shift_limit, gap + room.shift_limit)
    for _ in range(_STEPS):
        rounded = round_weights(flat, exponents, room.weight_limit)
        wanted = real_bias + _rounding_error(weight, rounded, exponents, input_mean)
        biases = np.floor(np.ldexp(wanted, -(input_exponent + exponents).astype(np.int32)) + 0.5)
        fits = room.fits(np.abs(rounded).sum(axis=1), biases, gap - exponents)
        if fits.all():
            break
        exponents = np.where(fits, exponents, exponents + 1)
    else:
        return f"its accumulators do not fit acc_width {cfg.acc_width}"
    restored = np.ldexp(rounded.astype(np.float64), exponents[:, None].astype(np.int32))
    snr = decibels(float((flat**2).sum()), float(((flat - restored) ** 2).sum()))
    coarsened = int((exponents > searched).sum())
    if coarsened and snr < _LEAST_COARSENED_SNR_DB:
        return f"keeping its accumulators inside acc_width {cfg.acc_width} leaves its weights {snr:.1f} dB of signal"
    return WeightQuant(
        values=rounded.reshape(weight.shape).astype(np.int8),
        exponents=exponents,
        bias=biases.astype(np.int64),
        shifts=gap - exponents,
        snr_db=snr,
        coarsened=coarsened,
    )


def _rounding_error(
    weight: NDArray[np.float32],
    rounded: NDArray[np.int64],
    exponents: NDArray[np.int64],
    input_mean: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Mean of (float weight - integer weight) * input for each output channel, 0 if no mean is known.

    A weight of one input channel for several means is depthwise: each output channel has an input of its own.
    """
    depthwise = input_mean is not None and weight.shape[:2] == (len(input_mean), 1)
    if input_mean is None or not (depthwise or len(input_mean) == weight.shape[1]):
        return np.zeros(len(weight))
    restored = np.ldexp(rounded.astype(np.float64), exponents[:, None].astype(np.int32)).reshape(weight.shape)
    error = (weight - restored).reshape(len(weight), weight.shape[1], -1).sum(axis=2)
    return np.asarray(error[:, 0] * input_mean if depthwise else error @ input_mean, dtype=np.float64)


def addition_problem(left: int, right: int, output: int, cfg: VTAConfig) -> str | None:
    """Why an Add with scales 2**left and 2**right cannot run in the accumulator, None if it can."""
    room = Accumulator.of(cfg)
    finer = min(left, right)
    if max(left, right) - finer > room.shift_limit:
        return f"the scales of its inputs differ by 2**{max(left, right) - finer}"
    magnitude = np.array([(1 << (left - finer)) + (1 << (right - finer))], dtype=np.int64)
    if not room.fits(magnitude, np.zeros(1), np.array([output - finer], dtype=np.int64))[0]:
        return f"aligning its inputs does not fit acc_width {cfg.acc_width}"
    return None
