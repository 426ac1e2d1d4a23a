"""Patterns of pooling: averages are depthwise convolutions with weights of 1, maxima an operator of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .padding import explicit_pads
from .patterns import conv_layer, finish, rank_of
from .qdq import NotALayerError, Scope, activation, exponent, require_no_zero_points
from .scales import copy_requant
from .types import IntLayer, QTensor
from .view import GraphView, attributes


def _input(view: GraphView, index: int, scope: Scope) -> QTensor:
    source = activation(view, view.nodes[index].input[0], scope)
    rank = rank_of(view, index, source)
    if rank != 4:
        raise NotALayerError(f"its input has {rank} dimensions: pooling of 4 can run")
    return source


def _pair(named: dict[str, Any], key: str) -> tuple[int, int]:
    first, second = named.get(key, (1, 1))
    return first, second


def _kernel(view: GraphView, index: int, source: QTensor) -> tuple[int, int]:
    if view.nodes[index].op_type.startswith("Global"):
        return source.nchw[2], source.nchw[3]
    return _pair(attributes(view.nodes[index]), "kernel_shape")


def average_pool(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """AveragePool, GlobalAveragePool: sums of windows, 1 / their size goes into the scale. Raises NotALayerError."""
    named, source = attributes(view.nodes[index]), _input(view, index, scope)
    kernel = _kernel(view, index, source)
    pads = explicit_pads(view, index, kernel, *source.nchw[2:])
    if any(pads) and not named.get("count_include_pad", 0):
        raise NotALayerError("it leaves its padding out of the average, so windows at the border have another divisor")
    size = kernel[0] * kernel[1]
    weight = np.ones((source.shape[1], 1, *kernel), np.int64)
    return conv_layer(
        view,
        index,
        scope,
        source,
        weight,
        np.array([1.0 / size]),
        np.zeros(len(weight), np.int64),
        strides=_pair(named, "strides"),
        pads=pads,
        dilations=_pair(named, "dilations"),
    )


def max_pool(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """MaxPool and GlobalMaxPool; padding is the least value, which no maximum sees. Raises NotALayerError."""
    node, source = view.nodes[index], _input(view, index, scope)
    if len(node.output) > 1 and node.output[1]:
        raise NotALayerError("it also returns the places of its maxima")
    named, kernel = attributes(node), _kernel(view, index, source)
    output, nodes = finish(view, index, scope)
    strides, dilations = _pair(named, "strides"), _pair(named, "dilations")
    pads = list(explicit_pads(view, index, kernel, *source.nchw[2:]))
    for axis in range(2):
        # Rounding up the output's size lets the last window reach beyond the padding, rounding down not even to it.
        end = (output.nchw[2 + axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        pads[2 + axis] = max(0, end - source.nchw[2 + axis] - pads[axis])
    padded = any(pads) and source.low != 0
    if padded and source.low < 0 and "pad_value" not in scope.cfg.extensions:
        raise NotALayerError(
            f"it pads an input that goes down to {source.low}, configuration {scope.cfg.name} lacks pad_value"
        )
    layer = IntLayer(
        name=view.name_of(index),
        op="maxpool",
        inputs=(source,),
        output=output,
        nodes=nodes,
        low=output.low,
        high=output.high,
        window=kernel,
        strides=strides,
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilations=dilations,
        pad_value=min(source.low, 0) if padded else 0,
    )
    return rescaled(layer, scope)


def rescaled(layer: IntLayer, scope: Scope) -> IntLayer:
    """``layer``, whose output takes values of its one input, with its scales and bounds; the same scale needs nothing.

    Raises NotALayerError.
    """
    source, output = layer.inputs[0], layer.output
    if (source.scale, source.zero) == (output.scale, output.zero):
        low, high = max(source.low, output.low), min(source.high, output.high)
        exact = replace(output, low=min(low, high), high=high)
        return replace(layer, output=exact, low=exact.low, high=high, shift=np.zeros(1, np.int64))
    if scope.any_scale:
        return replace(layer, requant=copy_requant([source], np.ones(1), np.array([source.zero]), output))
    require_no_zero_points(source, output)
    return replace(layer, shift=np.array([exponent(output.scale, source.scale)], np.int64))
