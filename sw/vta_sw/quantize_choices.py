"""Named choices of the quantizer. Nothing is imported, so that a command line can offer them."""

from __future__ import annotations

from enum import StrEnum


class CalibrateMode(StrEnum):
    """How the scale of an activation follows from its histogram."""

    MSE = "mse"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    KL_DIVERGENCE = "kl_divergence"
    GLOBAL_SCALE = "global_scale"


class WeightScale(StrEnum):
    """How the scale of a weight's channel is found."""

    MSE = "mse"
    MAX = "max"
    POWER2 = "power2"


class Rounding(StrEnum):
    """How weights become integers."""

    NEAREST = "nearest"
    SEQUENTIAL = "sequential"
    ADAROUND = "adaround"
    STOCHASTIC = "stochastic"


class PartitionConversions(StrEnum):
    """Whether the conversions at the network's ends stay in the file."""

    DISABLED = "disabled"
    FULLY_INTEGRAL = "fully_integral"
