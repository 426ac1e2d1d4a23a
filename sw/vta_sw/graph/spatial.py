"""Patterns of operators that move positions: padding, slicing, and repeating rows and columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .patterns import conv_layer, finish, rank_of
from .pool import rescaled
from .qdq import NotALayerError, Scope, activation
from .select import selection, slice_bounds, slice_channels
from .types import IntLayer, QTensor, nchw_axes
from .view import GraphView, attributes

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")

_ROUNDINGS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def pad(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Pad of height and width with a constant: a depthwise convolution that copies one value of each window.

    Raises NotALayerError.
    """
    node = view.nodes[index]
    source = activation(view, node.input[0], scope)
    if attributes(node).get("mode", b"constant") != b"constant":
        raise NotALayerError("it pads with values of its input")
    (first, before), (last, after) = _pad_sizes(view, node.input, rank_of(view, index, source))
    value = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
    if value is None:
        raise NotALayerError("its padding's value is computed")
    if first or last:
        if any((*before, *after)) or value.any():
            raise NotALayerError("it pads channels with other values than 0, or at once with rows or columns")
        none = [-1] * first, [-1] * last
        return selection(view, index, scope, [source], np.array([*none[0], *range(source.nchw[1]), *none[1]], np.int64))
    filled = _filling(scope, source, float(value.reshape(-1)[0]))
    reach = before[0] + after[0], before[1] + after[1]
    kernel = np.zeros((reach[0] + 1, reach[1] + 1), np.int64)
    kernel[after] = 1
    weight = np.broadcast_to(kernel, (source.nchw[1], 1, *kernel.shape))
    bias = np.zeros(len(weight), np.int64)
    layer = conv_layer(view, index, scope, source, np.ascontiguousarray(weight), np.ones(1), bias)
    return replace(layer, pads=(*reach, *reach), pad_value=filled)


_Sizes = tuple[int, tuple[int, int]]


def _pad_sizes(view: GraphView, inputs: Sequence[str], rank: int) -> tuple[_Sizes, _Sizes]:
    """(channels, (rows, columns)) before and after. Raises NotALayerError."""
    given = view.constant(inputs[1])
    axes = view.constant(inputs[3]) if len(inputs) > 3 and inputs[3] else np.arange(rank)
    if given is None or axes is None:
        raise NotALayerError("its padding is computed")
    if given.size and given.min() < 0:
        raise NotALayerError("its padding is negative")
    sizes = np.zeros((2, 4), np.int64)
    for number, axis in enumerate(axes.tolist()):
        sizes[:, nchw_axes(rank)[axis % rank]] = given[number], given[number + len(axes)]
    if sizes[:, 0].any():
        raise NotALayerError("it pads the batch")
    (first, top, left), (last, bottom, right) = sizes[:, 1:].tolist()
    return (first, (top, left)), (last, (bottom, right))


def _filling(scope: Scope, source: QTensor, value: float) -> int:
    """The integer that LOAD pads with. Raises NotALayerError unless ``value`` is one and LOAD can."""
    steps = value / source.scale
    filled = round(steps) + source.zero if math.isfinite(steps) else source.low
    filled = min(max(filled, source.low), source.high) if math.isinf(steps) else filled
    exact = math.isinf(steps) or abs(round(steps) - steps) <= 1e-5
    if not exact or not scope.cfg.inp_min <= filled <= scope.cfg.inp_max:
        raise NotALayerError(f"it pads with {value:.6g}, which no integer of its input is")
    if filled and "pad_value" not in scope.cfg.extensions:
        raise NotALayerError(f"it pads with the integer {filled}, configuration {scope.cfg.name} lacks pad_value")
    return filled


def slice_positions(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Slice of channels, or of rows and columns: a strided depthwise convolution that copies. Raises NotALayerError."""
    source = activation(view, view.nodes[index].input[0], scope)
    _, channels, *axes = slice_bounds(view, index, source)
    if all(axis == range(size) for axis, size in zip(axes, source.nchw[2:], strict=True)):
        return slice_channels(view, index, scope)
    if channels != range(source.nchw[1]) or any(axis.step < 1 or not axis for axis in axes):
        raise NotALayerError("it slices channels and positions at once, or backwards, or to nothing")
    # The smallest kernel that reaches the first position and makes no output beyond the last.
    sizes = [
        max(axis.start + 1, size - len(axis) * axis.step + 1) for axis, size in zip(axes, source.nchw[2:], strict=True)
    ]
    kernel = np.zeros(sizes, np.int64)
    kernel[axes[0].start, axes[1].start] = 1
    weight = np.ascontiguousarray(np.broadcast_to(kernel, (source.nchw[1], 1, *sizes)))
    strides = axes[0].step, axes[1].step
    bias = np.zeros(len(weight), np.int64)
    return conv_layer(view, index, scope, source, weight, np.ones(1), bias, strides=strides)


def resize(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Resize to the nearest value by whole factors. Raises NotALayerError."""
    named = attributes(view.nodes[index])
    source = activation(view, view.nodes[index].input[0], scope)
    output, nodes = finish(view, index, scope)
    if named.get("mode", b"nearest") != b"nearest":
        raise NotALayerError("it interpolates: only resizing to the nearest value can run")
    factors = []
    for axis, (size, made) in enumerate(zip(source.nchw, output.nchw, strict=True)):
        factor = made // size
        if made % size or factor < 1 or (axis < 2 and factor > 1):
            raise NotALayerError(f"it resizes {list(source.shape)} to {list(output.shape)}: not by whole factors")
        if not np.array_equal(_nearest(named, size, made), np.arange(made) // factor):
            raise NotALayerError("the values that it takes are not those of whole blocks")
        factors.append(factor)
    layer = IntLayer(
        name=view.name_of(index),
        op="upsample",
        inputs=(source,),
        output=output,
        nodes=nodes,
        low=output.low,
        high=output.high,
        factors=(factors[2], factors[3]),
    )
    return rescaled(layer, scope)


def _nearest(named: dict[str, bytes], size: int, made: int) -> NDArray[np.int64]:
    """The input position of each output position, as ONNX defines it. Raises NotALayerError."""
    if size == made:
        return np.arange(made)
    mode = named.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = named.get("nearest_mode", b"round_prefer_floor").decode()
    if mode not in _COORDINATES:
        raise NotALayerError(f"its coordinate_transformation_mode is {mode}")
    places = np.arange(made, dtype=np.float64)
    if mode == "asymmetric":
        exact = places * size / made
    elif mode == "align_corners":
        exact = places * (size - 1) / max(made - 1, 1)
    else:
        exact = (places + 0.5) * size / made - 0.5
    return np.clip(_ROUNDINGS[rounding](exact), 0, size - 1).astype(np.int64)
