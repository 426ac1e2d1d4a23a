"""Patterns of operators on single values: depthwise 1x1 convolutions, their constants in weights, scale or bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .patterns import conv_layer, finish
from .qdq import NotALayerError, Scope, activation, exponent, quantized, require_no_zero_points
from .scales import copy_requant
from .types import IntLayer, Ints, QTensor, nchw_axes
from .view import GraphView, attributes

Floats = NDArray[np.float32]
_DIFFERING = 1e-4
"""Share of the input's values, over all channels, that may be rounded otherwise than in float32."""
_SLOPE_ERROR = 1e-7
"""Relative error of a float32 slope that is a fraction of two weights."""


def _real_constant(view: GraphView, name: str) -> Floats | None:
    """The real value of a constant, or of a dequantized one."""
    value = view.constant(name)
    if value is not None:
        return value.astype(np.float32)
    index = view.producer.get(name)
    if index is None or view.nodes[index].op_type != "DequantizeLinear":
        return None
    node = view.nodes[index]
    parts = [view.constant(part) for part in node.input if part]
    if any(part is None for part in parts) or attributes(node).get("block_size"):
        return None
    stored, scale, *zero = (np.asarray(part) for part in parts)
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[attributes(node).get("axis", 1)] = scale.size
    offset = zero[0].astype(np.int64).reshape(shape if zero[0].size > 1 else ()) if zero else 0
    return np.asarray((stored.astype(np.int64) - offset).astype(np.float32) * scale.reshape(shape).astype(np.float32))


def constant_operand(view: GraphView, index: int) -> int | None:
    """Which of a node's two operands is constant."""
    names = view.nodes[index].input
    return next((at for at in (1, 0) if len(names) == 2 and _real_constant(view, names[at]) is not None), None)


def _operands(view: GraphView, index: int, scope: Scope) -> tuple[QTensor, Floats, int]:
    """The activation, the constant (one value a channel) and its place among a node's operands."""
    at = constant_operand(view, index)
    names = view.nodes[index].input
    value = None if at is None else _real_constant(view, names[at])
    if at is None or value is None:
        raise NotALayerError("neither of its operands is a constant")
    source = activation(view, names[1 - at], scope)
    rank, channels = len(view.shapes.get(names[1 - at], source.shape)), source.nchw[1]
    axis = nchw_axes(rank).index(1)
    aligned = value.reshape((1,) * max(0, rank - value.ndim) + value.shape)
    if aligned.ndim != rank or aligned.size not in (1, channels) or aligned.size != aligned.shape[axis]:
        raise NotALayerError(f"its constant of shape {list(value.shape)} is not one value, or one a channel")
    if not np.all(np.isfinite(value)):
        raise NotALayerError("its constant is not finite")
    return source, np.broadcast_to(aligned.reshape(-1), (channels,)), at


def product_with_constant(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Mul, or Div by a constant: weights of the constant's sign, its magnitude in the scale. Raises NotALayerError."""
    source, value, at = _operands(view, index, scope)
    if view.nodes[index].op_type == "Div":
        if at == 0 or not np.all(value):
            raise NotALayerError("it divides by an activation or by 0")
        value = (1 / value.astype(np.float64)).astype(np.float32)
    weight = np.sign(value).astype(np.int64)
    size = np.where(value == 0, 1.0, np.abs(value).astype(np.float64))
    return _unit(view, index, scope, source, weight, size, np.zeros(len(weight), np.int64))


def _unit(
    view: GraphView, index: int, scope: Scope, source: QTensor, weight: Ints, scale: NDArray[np.float64], bias: Ints
) -> IntLayer:
    """A layer of one weight a channel."""
    return conv_layer(view, index, scope, source, weight.reshape(-1, 1, 1, 1), scale, bias)


def clip(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """A Relu or Clip that no other layer takes. Raises NotALayerError."""
    source = activation(view, view.nodes[index].input[0], scope)
    channels = source.nchw[1]
    zeros = np.zeros(channels, np.int64)
    return _unit(view, index, scope, source, zeros + 1, np.ones(1), zeros)


def sum_with_constant(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Add or Sub of a constant: a weight makes steps fine enough for it as a bias. Raises NotALayerError."""
    source, value, at = _operands(view, index, scope)
    sign = 1
    if view.nodes[index].op_type == "Sub":
        value, sign = (-value, 1) if at == 1 else (value, -1)
    output, _ = finish(view, index, scope)
    weight, bias = offsets(scope, source, sign, value, output)
    return _unit(view, index, scope, source, sign * weight, 1.0 / weight, bias)


def offsets(scope: Scope, source: QTensor, sign: int, value: Floats, output: QTensor) -> tuple[Ints, Ints]:
    """Weight magnitudes and biases [channels] of sign * x + value.

    The weight of a channel is the one with which the fewest of all inputs are rounded to another output than in
    float32, and of those the one whose bias is nearest to the constant. Without arbitrary scales weights are powers of
    two. Raises NotALayerError when more values than one in 10,000 would be rounded otherwise.
    """
    most = scope.cfg.wgt_max
    if most < 1:
        raise NotALayerError(f"configuration {scope.cfg.name} has weights of 1 bit, a sum with a constant needs 2")
    weights = np.arange(1, most + 1) if scope.any_scale else 1 << np.arange(most.bit_length())
    exact = value.astype(np.float64)[:, None] * weights / source.scale
    biases = np.rint(exact)
    error = np.abs(biases - exact) / weights
    x = np.arange(source.low, source.high + 1)
    step, scale = np.float32(source.scale), np.float32(output.scale)
    real = sign * (x - source.zero).astype(np.float32) * step + value[:, None]
    expected = np.clip(np.rint(real / scale) + output.zero, output.low, output.high)
    wrong = np.empty(biases.shape, np.int64)
    for number, weight in enumerate(weights.tolist()):
        sums = sign * (x - source.zero) * weight + biases[:, number, None]
        wrong[:, number] = np.count_nonzero(_rounded(sums, weight, source, output) != expected, axis=1)
    best = np.lexsort((error, wrong), axis=1)[:, 0]
    rows: Ints = np.arange(len(value))
    chosen = biases[rows, best]
    differing = int(wrong[rows, best].sum())
    if differing > _DIFFERING * len(value) * len(x):
        raise NotALayerError(
            f"with weights up to {most} its constant is too coarse: {differing} of {len(x) * len(value)} values of its "
            "input would be rounded otherwise"
        )
    if np.abs(chosen).max() > 1 << 30:
        raise NotALayerError(
            f"its constant is {np.abs(value).max() / source.scale:.3g} input steps, too many for a bias"
        )
    return weights[best].astype(np.int64), chosen.astype(np.int64)


def _rounded(sums: NDArray[np.float64], weight: int, source: QTensor, output: QTensor) -> NDArray[np.float64]:
    scale = np.float32(source.scale) * np.float32(1.0 / weight) / np.float32(output.scale)
    return np.asarray(np.clip(np.rint(sums * np.float64(scale)) + output.zero, output.low, output.high))


def leaky_relu(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """LeakyRelu whose slope is a fraction of two weights: x * q + max(x, 0) * p. Raises NotALayerError."""
    source = activation(view, view.nodes[index].input[0], scope)
    slope = float(attributes(view.nodes[index]).get("alpha", 0.01))
    whole, unit = _fraction(slope, scope.cfg.wgt_max)
    output, nodes = finish(view, index, scope)
    layer = IntLayer(
        name=view.name_of(index),
        op="rectify",
        inputs=(source,),
        output=_leaky_range(view, source, output, nodes[-1], slope, scope),
        nodes=nodes,
        low=output.low,
        high=output.high,
        factors=(unit - whole, whole),
        floor=source.zero,
        window=(1, 1),
    )
    if scope.any_scale:
        zeros = np.array([source.zero * unit])
        return replace(layer, requant=copy_requant([source], np.array([1.0 / unit]), zeros, output))
    require_no_zero_points(source, output)
    return replace(layer, shift=np.array([exponent(output.scale, source.scale / unit)], np.int64))


def _fraction(slope: float, most: int) -> tuple[int, int]:
    """(q, n) with slope = q / n, where q and n - q are weights and n - q is positive. Raises NotALayerError."""
    for unit in range(1, 2 * most + 1):
        whole = round(slope * unit)
        if abs(whole / unit - slope) <= _SLOPE_ERROR * abs(slope) and abs(whole) <= most and 0 < unit - whole <= most:
            return whole, unit
    raise NotALayerError(f"its slope of {slope:.6g} is no fraction of two weights up to {most}")


def _leaky_range(
    view: GraphView, source: QTensor, output: QTensor, quantizer: int, slope: float, scope: Scope
) -> QTensor:
    """The output within the bounds that its input and slope leave."""
    ends = [(bound - source.zero) * source.scale for bound in (source.low, source.high, source.zero)]
    made = [max(end, end * slope) for end in ends]
    reach = quantized(view, quantizer, min(made), max(made), scope)
    return replace(output, low=max(output.low, reach.low), high=max(output.low, min(output.high, reach.high)))
