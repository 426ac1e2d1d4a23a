"""Patterns of operators that choose channels: each output channel is one channel of one input, or 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .patterns import finish, rank_of
from .qdq import NotALayerError, Scope, activation, exponent, require_no_zero_points
from .scales import copy_requant
from .types import IntLayer, Ints, QTensor, nchw_axes
from .view import GraphView, attributes


def concat(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Concat of activations on channels, whatever their scales. Raises NotALayerError."""
    node = view.nodes[index]
    sources = [activation(view, name, scope) for name in node.input]
    rank = len(view.shapes.get(node.output[0], ()))
    axis, channels = attributes(node).get("axis", 1), nchw_axes(rank).index(1)
    if axis not in (channels, channels - rank):
        raise NotALayerError(f"it concatenates on axis {axis}: channels (axis {channels}) can run")
    counts = [source.nchw[1] for source in sources]
    return selection(view, index, scope, sources, np.arange(sum(counts), dtype=np.int64))


def slice_channels(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Slice of channels with constant bounds. Raises NotALayerError."""
    source = activation(view, view.nodes[index].input[0], scope)
    bounds = slice_bounds(view, index, source)
    if any(bound != range(size) for bound, size in zip(bounds[2:], source.nchw[2:], strict=True)):
        raise NotALayerError("it slices channels and positions at once")
    return selection(view, index, scope, [source], np.array(bounds[1], np.int64))


def slice_bounds(view: GraphView, index: int, source: QTensor) -> tuple[range, range, range, range]:
    """What a Slice with constant bounds takes of each axis. Raises NotALayerError."""
    node = view.nodes[index]
    values = [view.constant(name) if name else None for name in node.input[1:]]
    if len(values) < 2 or values[0] is None or values[1] is None:
        raise NotALayerError("its bounds are computed")
    starts, ends = values[0].tolist(), values[1].tolist()
    axes = values[2].tolist() if len(values) > 2 and values[2] is not None else list(range(len(starts)))
    steps = values[3].tolist() if len(values) > 3 and values[3] is not None else [1] * len(starts)
    taken, rank = [range(size) for size in source.nchw], rank_of(view, index, source)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        place = nchw_axes(rank)[axis % rank]
        size = source.nchw[place]
        taken[place] = range(size)[slice(start, end if end >= -size or step > 0 else None, step)]
    images, channels, rows, cols = taken
    if images != range(source.nchw[0]):
        raise NotALayerError("it slices the batch")
    return images, channels, rows, cols


def selection(view: GraphView, index: int, scope: Scope, sources: list[QTensor], channels: Ints) -> IntLayer:
    """The layer whose outputs are ``channels`` of all sources, one behind the other; -1 is the real value 0."""
    output, nodes = finish(view, index, scope)
    owner = np.repeat(np.arange(len(sources)), [source.nchw[1] for source in sources])
    if len(channels) != output.nchw[1]:
        raise NotALayerError(f"it makes {len(channels)} channels, its output has {output.nchw[1]}")
    zero = replace(output, low=0, high=0, zero=0)
    used = [sources[owner[channel]] if channel >= 0 else zero for channel in channels]
    layer = IntLayer(
        name=view.name_of(index),
        op="select",
        inputs=tuple(sources),
        output=output,
        nodes=nodes,
        low=output.low,
        high=output.high,
        bias=np.zeros(len(channels), np.int64),
        channels=channels,
    )
    if all((source.scale, source.zero) == (output.scale, output.zero) for source in used):
        return replace(_bounded(layer, used), shift=np.zeros(len(channels), np.int64))
    if scope.any_scale:
        zeros: NDArray[np.int64] = np.array([source.zero for source in used], np.int64)
        return replace(layer, requant=copy_requant(used, np.ones(len(used)), zeros, output))
    require_no_zero_points(*used, output)
    return replace(layer, shift=np.array([exponent(output.scale, source.scale) for source in used], np.int64))


def _bounded(layer: IntLayer, used: list[QTensor]) -> IntLayer:
    """Outputs that are copies are within the bounds of what is copied."""
    low = max(layer.low, min(source.low for source in used))
    high = min(layer.high, max(source.high for source in used))
    output = replace(layer.output, low=min(low, high), high=high)
    return replace(layer, output=output, low=output.low, high=high)
