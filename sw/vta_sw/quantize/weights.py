"""Integer weights and biases of a layer, with a proof that its accumulators cannot overflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.requant import MULTIPLIER_BITS, REQ_FIELDS

from ..graph import NotALayerError, add_factors
from . import any_scale, power_of_two
from .scales import decibels, round_weights
from .types import WeightQuant, activation_type, has_any_scale, weight_type

_LEAST_COARSENED_SNR_DB = 10.0
"""A layer whose weights are worse than this after making room in the accumulator stays float."""
_STEPS = 64
_LEAST_COARSER, _MOST_COARSER = 1.02, 2.0
_DEAD_BITS = 4
"""The scale of a channel without weights makes an output step of 2**(accumulator bits / this) accumulator steps."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Accumulator:
    """Limits that every layer of a configuration keeps."""

    weight_limit: int
    """Greatest weight magnitude; the most negative weight is never used."""
    activation_limit: int
    """Greatest activation magnitude."""
    high: int
    shift_limit: int
    any_scale: bool

    @classmethod
    def of(cls, cfg: VTAConfig) -> Accumulator:
        """The limits of a configuration."""
        kind = activation_type(cfg)
        largest = max(-kind.low, kind.high)
        return cls(weight_type(cfg).high, largest, cfg.acc_max, cfg.acc_width - 1, has_any_scale(cfg))

    def excess(self, magnitude: NDArray[np.int64], bias: Floats, ratio: Floats) -> Floats:
        """By how much each channel is beyond the limits: up to 1 is within.

        ``magnitude``: sum|w|; ``ratio``: output steps of an accumulator step. The sums are bounded by sum|w| times
        the greatest activation. Where passes requantize, bias, half a step and a left shift come on top.
        """
        bound = magnitude.astype(np.float64) * self.activation_limit
        if self.any_scale:
            limits = (bound / self.high, np.abs(bias) / REQ_FIELDS["bias"].max, ratio / ((1 << MULTIPLIER_BITS) - 1))
            return np.asarray(np.max(limits, axis=0), np.float64)
        shift = 1 - np.frexp(ratio)[1]
        half = np.where(shift > 0, np.ldexp(0.5, np.maximum(shift, 0)), 0.0)
        left = np.ldexp(bound + np.abs(bias) + half, np.maximum(-shift, 0))
        return np.where(np.abs(shift) <= self.shift_limit, left / self.high, np.inf)

    def first_scales(self, flat: Floats, gap: float, acc_width: int) -> Floats:
        """Scales of the rows of ``flat`` [channels, n] before coarsening. ``gap``: output scale / input scale."""
        search = any_scale.search_weight_scales if self.any_scale else power_of_two.search_weight_scales
        scales = search(flat, self.weight_limit)
        scales[~flat.any(axis=1)] = np.float32(np.ldexp(gap, -(acc_width // _DEAD_BITS)))
        if self.any_scale:
            return scales
        return np.clip(scales, np.ldexp(gap, -self.shift_limit), np.ldexp(gap, self.shift_limit))

    def coarser(self, scales: Floats, excess: Floats) -> Floats:
        """The next coarser scales for channels beyond the limits."""
        if not self.any_scale:
            return np.where(excess > 1, scales * 2, scales)
        factor = np.clip(excess, _LEAST_COARSER, _MOST_COARSER)
        return np.where(excess > 1, np.float32(scales * factor).astype(np.float64), scales)


def quantize_weights(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    input_scale: float,
    output_scale: float,
    cfg: VTAConfig,
    *,
    input_mean: Floats | None = None,
    shared: int = 1,
) -> WeightQuant | str:
    """Integers of a layer whose weight is [out, in, ...]; or the reason why there are none.

    ``input_mean`` [in]: each input channel's mean; given, the bias takes back the mean error of the rounding.
    ``shared``: so many parts of the channels have the same scales.
    A channel whose accumulators could leave the limits (see :meth:`Accumulator.excess`) gets a coarser scale.
    """
    room = Accumulator.of(cfg)
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    real_bias = np.zeros(len(flat)) if bias is None else bias.astype(np.float64).reshape(-1)
    gap = output_scale / input_scale
    scales = searched = _share(room.first_scales(flat, gap, cfg.acc_width), shared)
    for _ in range(_STEPS):
        rounded = round_weights(flat, scales, room.weight_limit)
        wanted = real_bias + _rounding_error(weight, rounded, scales, input_mean)
        biases = np.floor(wanted / (input_scale * scales) + 0.5)
        excess = room.excess(np.abs(rounded).sum(axis=1), biases, scales / gap)
        if (excess <= 1).all():
            break
        scales = _share(room.coarser(scales, excess), shared)
    else:
        return f"its accumulators do not fit acc_width {cfg.acc_width}"
    restored = rounded * scales[:, None]
    snr = decibels(float((flat**2).sum()), float(((flat - restored) ** 2).sum()))
    coarsened = int((scales > searched).sum())
    if coarsened and snr < _LEAST_COARSENED_SNR_DB:
        return f"keeping its accumulators inside acc_width {cfg.acc_width} leaves its weights {snr:.1f} dB of signal"
    return WeightQuant(
        values=rounded.reshape(weight.shape).astype(np.int8),
        scales=scales,
        bias=biases.astype(np.int64),
        snr_db=snr,
        coarsened=coarsened,
    )


def _share(scales: Floats, parts: int) -> Floats:
    """The coarsest scale of each channel among ``parts`` equal parts, for all of them."""
    return np.tile(scales.reshape(parts, -1).max(axis=0), parts)


def _rounding_error(
    weight: NDArray[np.float32], rounded: NDArray[np.int64], scales: Floats, input_mean: Floats | None
) -> Floats:
    """Mean of (float weight - integer weight) * input for each output channel, 0 if no mean is known.

    A weight of fewer input channels than there are means has groups of channels.
    """
    outputs, depth = weight.shape[:2]
    if input_mean is None or len(input_mean) % depth or outputs % (len(input_mean) // depth):
        return np.zeros(len(weight))
    groups = len(input_mean) // depth
    means = np.repeat(input_mean.reshape(groups, depth), outputs // groups, axis=0)
    restored = (rounded * scales[:, None]).reshape(weight.shape)
    error = (weight - restored).reshape(len(weight), weight.shape[1], -1).sum(axis=2)
    return np.asarray((error * means).sum(axis=1), dtype=np.float64)


def addition_problem(left: float, right: float, output: float, cfg: VTAConfig) -> str | None:
    """Why an Add of tensors with these scales cannot run in the accumulator, None if it can."""
    room = Accumulator.of(cfg)
    finer = min(left, right)
    try:
        factors = (
            add_factors(cfg, left, right, output, room.activation_limit)
            if room.any_scale
            else (round(left / finer), round(right / finer))
        )
    except NotALayerError as reason:
        return str(reason)
    ratio = np.array([right / factors[1] / output])
    if sum(factors) > room.high or room.excess(np.array([sum(factors)]), np.zeros(1), ratio)[0] > 1:
        return (
            f"aligning its inputs, whose scales are {left:.6g} and {right:.6g}, does not fit acc_width {cfg.acc_width}"
        )
    return None
