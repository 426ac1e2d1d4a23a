"""Requantization parameters of layers with arbitrary scales (extension ``requant``)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.requant import MULTIPLIER_BITS, REQ_FIELDS, RequantParams, fixed_point

from .qdq import NotALayerError
from .types import Ints, QTensor

_ADD_TOLERANCE = 1e-4
"""Most that the factors of an add may move a sum, in output steps: so few of all sums change their rounding."""
_BIAS_TOLERANCE = 2e-5
"""Most that a bias may be off, in output steps: of all sums as large a share is rounded otherwise."""
_FACTOR_BITS = 20
"""Factors of an add beyond this gain nothing: the less significant input vanishes in the rounding."""


def conv_requant(
    source: QTensor, scale: NDArray[np.float64], bias: NDArray[np.float64], weight: Ints, output: QTensor
) -> RequantParams:
    """Parameters of a convolution's channels; the input's zero point is folded into the bias, which is in sum steps.

    The scale is computed in float32, as onnxruntime does: input scale * weight scale / output scale.
    """
    channels = weight.shape[0]
    wide = np.broadcast_to(scale, (channels,)).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        total = np.float32(source.scale) * wide / np.float32(output.scale)
    sums = weight.reshape(channels, -1).sum(axis=1)
    offset = bias - source.zero * sums
    if np.all(offset == np.rint(offset)):
        return _params(total, offset.astype(np.int64), output)
    return affine_params(total, offset * total + output.zero, output)


def nearest_offset(
    scale: NDArray[np.float32], offset: NDArray[np.float64], zero: int
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Whole numbers b and z for which scale * (sum + b) + z is nearest to scale * sum + offset; how far that is.

    b is a bias and z any zero point: a scale of no whole number brings their sums near to any offset. Of equally near
    ones z is next to ``zero``, because an odd distance rounds halves the other way.
    """
    limit, field = REQ_FIELDS["bias"], REQ_FIELDS["zero_point"]
    whole = np.arange(field.min, field.max + 1)
    exact = scale.astype(np.float64)[:, None]
    wanted = (offset[:, None] - whole) / np.maximum(exact, np.finfo(np.float32).tiny)
    sums = np.rint(np.clip(wanted, limit.min, limit.max))
    error = np.abs(sums * exact + whole - offset[:, None])
    order = np.abs(whole - zero) + np.zeros_like(error)
    best = np.lexsort((order, np.round(error, 9)), axis=1)[:, 0]
    rows = np.arange(len(scale))
    return sums[rows, best].astype(np.int64), whole[best].astype(np.int64), error[rows, best]


def affine_params(scale: NDArray[np.float32], offset: NDArray[np.float64], output: QTensor) -> RequantParams:
    """Parameters of sums * scale + offset, rounded; ``offset`` is in output steps, and no whole number of any step.

    Raises NotALayerError where that cannot be near enough.
    """
    sums, whole, error = nearest_offset(scale, offset, output.zero)
    if np.any(error > _BIAS_TOLERANCE):
        raise NotALayerError(f"its bias is {error.max():.2g} output steps from any that can be added")
    return replace(_params(scale, sums, output), zero_point=whole)


def copy_requant(sources: list[QTensor], scale: NDArray[np.float64], zeros: Ints, output: QTensor) -> RequantParams:
    """Parameters of outputs that are inputs of other scales: ``sources``, one for each set of parameters or one in all.

    ``scale``: real value of one step of the sum, in input steps; ``zeros``: the sum where all inputs are 0.
    """
    steps = np.array([source.scale for source in sources], np.float32) * scale.astype(np.float32)
    return _params(steps / np.float32(output.scale), -zeros, output)


def _params(scale: NDArray[np.float32], bias: Ints, output: QTensor) -> RequantParams:
    limit = REQ_FIELDS["bias"]
    if bias.size and (bias.min() < limit.min or bias.max() > limit.max):
        raise NotALayerError(f"its bias with the input's zero point, {np.abs(bias).max()}, exceeds {limit.width} bits")
    if not np.all(scale < 1 << MULTIPLIER_BITS):
        raise NotALayerError(f"a scale ratio of {scale.max():.6g} is not below 2**{MULTIPLIER_BITS}")
    multiplier, shift = fixed_point(scale)
    zero, low, high, wide = (np.full_like(bias, value) for value in (output.zero, output.low, output.high, 0))
    return RequantParams(bias, multiplier, shift, wide, zero, low, high)


def add_requant(
    cfg: VTAConfig, left: QTensor, right: QTensor, output: QTensor
) -> tuple[tuple[int, int], RequantParams]:
    """Integer factors of an add's inputs, and the parameters that turn the sum of the products into its output."""
    reach = max(left.high - left.zero, left.zero - left.low)
    p, q = add_factors(cfg, left.scale, right.scale, output.scale, reach)
    scale = np.array([right.scale / q / output.scale], np.float32)
    bias = np.array([-(left.zero * p + right.zero * q)], np.int64)
    return (p, q), _params(scale, bias, output)


def add_factors(cfg: VTAConfig, left: float, right: float, output: float, reach: int) -> tuple[int, int]:
    """The smallest factors whose ratio is that of the inputs' scales, as closely as it shows in the output.

    ``reach``: greatest magnitude of the left input. Raises NotALayerError.
    """
    ratio = left / right
    bits = max(cfg.wgt_width - 1, 1)
    for width in range(bits, _FACTOR_BITS + bits, bits):
        second = np.arange(1, 1 << min(width, _FACTOR_BITS), dtype=np.int64)
        first = np.rint(ratio * second)
        error = np.abs(first / second - ratio) * right / output * reach
        good = (first >= 1) & (first <= len(second)) & (error <= _ADD_TOLERANCE)
        if good.any():
            at = int(np.argmax(good))
            return int(first[at]), int(second[at])
    raise NotALayerError(f"the scales of its inputs, {left:.6g} and {right:.6g}, are too far apart")
