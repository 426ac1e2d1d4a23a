"""The pattern of a transposed convolution: a convolution over an input whose values stand apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..frontend.transposed import output_first
from .patterns import conv_layer, finish, pad_value, rank_of
from .qdq import Constant, NotALayerError, Scope, activation, constant
from .types import IntLayer, Ints, QTensor
from .view import GraphView, attributes

_PADDINGS = ("", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def conv_transpose(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """A ConvTranspose of any number of groups on 4-dimensional tensors. Raises NotALayerError.

    With strides of 1, and no more padding than its kernel reaches, it is a convolution and becomes one.
    """
    node, named = view.nodes[index], attributes(view.nodes[index])
    source = activation(view, node.input[0], scope)
    item = constant(view, node.input[1])
    if rank_of(view, index, source) != 4 or item.values.ndim != 4:
        raise NotALayerError("it is not 2-dimensional")
    groups = named.get("group", 1)
    if list(named.get("kernel_shape", item.values.shape[2:])) != list(item.values.shape[2:]):
        raise NotALayerError(f"its kernel_shape is {named['kernel_shape']}, its weight has {item.values.shape[2:]}")
    weight = _as_convolution(item, groups, source.nchw[1])
    strides, dilations = tuple(named.get("strides", [1, 1])), tuple(named.get("dilations", [1, 1]))
    if min(*strides, *dilations) < 1:
        raise NotALayerError("it has a stride or dilation of less than 1")
    output, _ = finish(view, index, scope)
    begins = _first_pads(named, source, output, weight, strides, dilations)
    pads = _pads(begins, source, output, weight, strides, dilations)
    bias = node.input[2] if len(node.input) > 2 else ""
    scale = np.tile(item.scale, groups) if item.scale.size > 1 else item.scale
    plain = max(strides) == 1 and min(pads) >= 0
    layer = conv_layer(view, index, scope, source, weight, scale, bias, strides=strides, pads=pads, dilations=dilations)
    if plain:
        return layer
    between = (*pads, max(strides) - 1)
    return replace(layer, op="conv_transpose", pad_value=pad_value(scope, source, between))


def _as_convolution(item: Constant, groups: int, channels: int) -> Ints:
    """The weight [C, O / groups, KH, KW] as a convolution has it: [O, C / groups, KH, KW], its kernel turned round.

    Raises NotALayerError for groups or scales that do not fit.
    """
    depth, outputs = item.values.shape[:2]
    if groups < 1 or channels % groups or depth != channels:
        raise NotALayerError(f"its weight has {depth} input channels, its input {channels} in {groups} groups")
    if item.scale.size not in (1, outputs) or (item.scale.size > 1 and item.axis != 1):
        raise NotALayerError("its weight scale is not one per tensor or output channel")
    return np.ascontiguousarray(output_first(item.values, groups)[:, :, ::-1, ::-1])


def _first_pads(
    named: dict[str, object],
    source: QTensor,
    output: QTensor,
    weight: Ints,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[int]:
    """Rows and columns that ONNX leaves out before the output's first ones."""
    raw = named.get("auto_pad", b"NOTSET")
    mode = raw.decode() if isinstance(raw, bytes) else "NOTSET"
    if mode not in _PADDINGS:
        raise NotALayerError(f"its auto_pad is {mode}")
    fixed = named.get("output_shape")
    if mode == "VALID" or (mode in ("NOTSET", "") and fixed is None):
        given = named.get("pads", [0, 0, 0, 0]) if mode != "VALID" else [0, 0, 0, 0]
        return list(given)[:2]  # type: ignore[call-overload,no-any-return]  # a list of integers
    extra = named.get("output_padding", [0, 0])
    begins = []
    for axis in range(2):
        reach = (weight.shape[2 + axis] - 1) * dilations[axis]
        whole = strides[axis] * (source.nchw[2 + axis] - 1) + reach + 1 + list(extra)[axis]  # type: ignore[call-overload]
        total = max(0, whole - output.nchw[2 + axis])
        begins.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
    return begins


def _pads(
    begins: list[int],
    source: QTensor,
    output: QTensor,
    weight: Ints,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, int, int, int]:
    """Padding of the input whose values stand apart: top, left, bottom, right."""
    before, after = [], []
    for axis in range(2):
        reach = (weight.shape[2 + axis] - 1) * dilations[axis]
        before.append(reach - begins[axis])
        wide = strides[axis] * (source.nchw[2 + axis] - 1) + 1
        after.append(output.nchw[2 + axis] + reach - wide - before[axis])
    return before[0], before[1], after[0], after[1]
