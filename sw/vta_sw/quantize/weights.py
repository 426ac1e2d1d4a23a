"""Integer weights and biases of a layer, with a proof that its accumulators cannot overflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.requant import MULTIPLIER_BITS, REQ_FIELDS

from ..graph import NotALayerError, add_factors
from ..quantize_choices import WeightScale
from . import any_scale, power_of_two
from .config import QConfig
from .scales import Limits, decibels, round_weights
from .types import IntType, WeightQuant, has_any_scale

_LEAST_COARSENED_SNR_DB = 10.0
"""A layer whose weights are worse than this after making room in the accumulator stays float."""
_STEPS = 64
_LEAST_COARSER, _MOST_COARSER = 1.02, 2.0
_DEAD_BITS = 4
"""The scale of a channel without weights makes an output step of 2**(accumulator bits / this) accumulator steps."""

Floats = NDArray[np.float64]
DEFAULT = QConfig()


@dataclass(frozen=True)
class Accumulator:
    """Limits that every layer of a configuration keeps."""

    weight_limits: Limits
    """The most negative weight that the scratchpad holds is never used."""
    activation_limit: int
    """Greatest activation magnitude."""
    high: int
    shift_limit: int
    any_scale: bool

    power_of_two: bool
    """Whether weight scales are powers of two in any case."""
    largest_scale: bool
    """Whether no weight is clipped, rather than the squared error minimised."""

    @classmethod
    def of(cls, cfg: VTAConfig, source: IntType, weight: IntType, config: QConfig = DEFAULT) -> Accumulator:
        """The limits of a layer that reads activations of type ``source`` and has weights of type ``weight``."""
        # With a zero point it is the stored integer, from which passes or the bias take it.
        largest = max(-source.low - source.zero, source.high + source.zero)
        if not source.signed and cfg.inp_is_signed:
            # On the accelerator it is signed, with a zero point, which passes have to add in the accumulators.
            largest = 1 << (source.bits - 1 if has_any_scale(cfg) else source.bits)
        bits = config.resolve(cfg).acc_bits
        any_scale = has_any_scale(cfg)
        return cls(
            (weight.low if weight.bits < cfg.wgt_width else -weight.high, weight.high),
            largest,
            (1 << (bits - 1)) - 1,
            bits - 1,
            any_scale,
            config.weight_scale is WeightScale.POWER2 or not any_scale,
            config.weight_scale is WeightScale.MAX,
        )

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
        search = power_of_two.search_weight_scales if self.power_of_two else any_scale.search_weight_scales
        scales = search(flat, self.weight_limits, clip=not self.largest_scale)
        scales[~flat.any(axis=1)] = np.float32(np.ldexp(gap, -(acc_width // _DEAD_BITS)))
        if self.any_scale:
            return scales
        return np.clip(scales, np.ldexp(gap, -self.shift_limit), np.ldexp(gap, self.shift_limit))

    def coarser(self, scales: Floats, excess: Floats) -> Floats:
        """The next coarser scales for channels beyond the limits."""
        if self.power_of_two:
            return np.where(excess > 1, scales * 2, scales)
        factor = np.clip(excess, _LEAST_COARSER, _MOST_COARSER)
        return np.where(excess > 1, np.float32(scales * factor).astype(np.float64), scales)


@dataclass(frozen=True)
class Rounded:
    """Integers [channels, n] of weights, their scales [channels], and what the float bias [channels] gets on top."""

    integers: NDArray[np.int64]
    scales: Floats
    bias: Floats | float = 0.0


Rounder = Callable[[Floats], Rounded]
"""From the scales [channels] at which weights are rounded to their integers."""


def quantize_weights(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    ends: tuple[float, float],
    room: Accumulator,
    rounder: Rounder,
    *,
    shared: int = 1,
) -> WeightQuant | str:
    """Integers of a layer whose weight is [out, in, ...]; or the reason why there are none.

    ``ends``: scales of its input and output; ``shared``: so many parts of the channels have the same scales. A channel
    whose accumulators could leave the limits (see :meth:`Accumulator.excess`) gets a coarser scale.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    real_bias = np.zeros(len(flat)) if bias is None else bias.astype(np.float64).reshape(-1)
    input_scale, gap = ends[0], ends[1] / ends[0]
    width = room.high.bit_length() + 1
    scales = searched = _share(room.first_scales(flat, gap, width), shared)
    scales = _share(_roomy(flat, real_bias, input_scale, scales, gap, room), shared)
    for _ in range(_STEPS):
        found = rounder(scales)
        biases = np.floor((real_bias + found.bias) / (input_scale * found.scales) + 0.5)
        excess = room.excess(np.abs(found.integers).sum(axis=1), biases, found.scales / gap)
        if (excess <= 1).all():
            break
        scales = _share(room.coarser(scales, excess), shared)
    else:
        return f"its accumulators do not fit acc_width {width}"
    restored = found.integers * found.scales[:, None]
    snr = decibels(float((flat**2).sum()), float(((flat - restored) ** 2).sum()))
    coarsened = int((scales > searched).sum())
    if coarsened and snr < _LEAST_COARSENED_SNR_DB:
        return f"keeping its accumulators inside acc_width {width} leaves its weights {snr:.1f} dB of signal"
    return WeightQuant(
        values=found.integers.reshape(weight.shape).astype(np.int8),
        scales=found.scales,
        bias=biases.astype(np.int64),
        snr_db=snr,
        coarsened=coarsened,
    )


def _share(scales: Floats, parts: int) -> Floats:
    """The coarsest scale of each channel among ``parts`` equal parts, for all of them."""
    return np.tile(scales.reshape(parts, -1).max(axis=0), parts)


def _roomy(flat: Floats, bias: Floats, input_scale: float, scales: Floats, gap: float, room: Accumulator) -> Floats:
    """Scales at which weights rounded to the nearest fit the accumulators, as far as a few steps find them."""
    for _ in range(_STEPS):
        magnitude = np.abs(round_weights(flat, scales, room.weight_limits)).sum(axis=1)
        excess = room.excess(magnitude, bias / (input_scale * scales), scales / gap)
        if (excess <= 1).all():
            break
        scales = room.coarser(scales, excess)
    return scales


def nearest(weight: NDArray[np.float32], limits: Limits) -> Rounder:
    """Rounding to the nearest integer."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)

    def rounder(scales: Floats) -> Rounded:
        return Rounded(round_weights(flat, scales, limits), scales)

    return rounder


def stochastic(weight: NDArray[np.float32], limits: Limits, seed: int) -> Rounder:
    """Rounding up with the probability of the fraction."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)

    def rounder(scales: Floats) -> Rounded:
        chance = np.random.default_rng(seed).random(flat.shape)
        return Rounded(np.clip(np.floor(flat / scales[:, None] + chance), *limits).astype(np.int64), scales)

    return rounder


def addition_problem(ends: tuple[float, float, float], kinds: tuple[IntType, IntType], cfg: VTAConfig) -> str | None:
    """Why an Add cannot run in the accumulator, None if it can. ``ends``: scales of both inputs and the output."""
    left, right, output = ends
    room = Accumulator.of(cfg, max(kinds, key=lambda kind: kind.bits), kinds[0])
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
