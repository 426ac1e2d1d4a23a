"""Patterns: a Conv, Gemm, MatMul or Add between DequantizeLinear and QuantizeLinear, as an integer layer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.program import channels_first

from .digits import in_digits
from .epilogue import fit_epilogue, follow
from .padding import explicit_pads
from .qdq import (
    Affine,
    Constant,
    NotALayerError,
    Scope,
    activation,
    affine_activation,
    clip_bounds,
    constant,
    exponent,
    quantized,
    shifted,
)
from .scales import add_requant, conv_requant
from .types import IntLayer, Ints, QTensor
from .view import GraphView, attributes

ACTIVATIONS = ("Relu", "Clip")
Floats = NDArray[np.float64]
_SAME_SCALE = 1e-6
"""Scales closer than this, relatively, are the same number computed in another order."""


def finish(view: GraphView, index: int, scope: Scope, behind: tuple[int, ...] = ()) -> tuple[QTensor, tuple[int, ...]]:
    """Follow [Relu | Clip]* -> QuantizeLinear from node ``index``, and those ``behind`` it: the output, all nodes."""
    nodes, low, high = [index, *behind], -np.inf, np.inf
    if view.nodes[index].op_type in ACTIVATIONS:
        low, high = clip_bounds(view, index)
    while True:
        following = view.single_consumer(view.nodes[nodes[-1]].output[0])
        if following is None:
            raise NotALayerError("its result is not used by exactly one QuantizeLinear")
        node = view.nodes[following]
        nodes.append(following)
        if node.op_type == "QuantizeLinear":
            return quantized(view, following, low, high, scope), tuple(nodes)
        if node.op_type not in ACTIVATIONS:
            raise NotALayerError(f"its result goes to {node.op_type}, not to a QuantizeLinear")
        least, most = clip_bounds(view, following)
        low, high = min(max(low, least), most), min(max(high, least), most)


def _bias(view: GraphView, name: str, channels: int, step: Ints | np.ndarray) -> Floats:
    """The bias in steps of the accumulator, one a channel; whole where it nearly is. Raises NotALayerError."""
    if not name:
        return np.zeros(channels)
    value = view.constant(name)
    if value is None:
        item = constant(view, name)
        _require_channels("bias", item.values.size, channels)
        if item.scale.size != 1:
            _require_channels("bias's scale", item.scale.size, channels)
        if np.allclose(item.scale, step, rtol=_SAME_SCALE, atol=0):
            return item.values.reshape(-1).astype(np.float64)
        real = item.values.reshape(-1).astype(np.float64) * item.scale
    else:
        real = value.astype(np.float64).reshape(-1)
    _require_channels("bias", real.size, channels)
    steps = real / step
    rounded = np.rint(steps)
    exact = np.abs(steps - rounded) <= 1e-5 * np.maximum(np.abs(steps), 1)
    return np.asarray(np.where(exact, rounded, steps))


def _whole(bias: Floats) -> Ints:
    """A bias of whole steps. Raises NotALayerError for another, which powers of two cannot make."""
    if np.any(bias != np.rint(bias)):
        raise NotALayerError("its bias is not a multiple of the accumulator's step (input scale x weight scale)")
    return bias.astype(np.int64)


def _require_channels(what: str, size: int, channels: int) -> None:
    if size != channels:
        raise NotALayerError(f"its {what} has {size} elements for {channels} channels")


def conv_layer(
    view: GraphView,
    index: int,
    scope: Scope,
    source: QTensor,
    weight: Ints,
    scale: np.ndarray,
    bias: str | Ints,
    behind: tuple[int, ...] = (),
    *,
    given: Affine | None = None,
    true_weights: int = 0,
    **geometry: tuple[int, ...],
) -> IntLayer:
    """The layer of node ``index`` whose weight [out, in, ...] has ``scale``, one number or one a channel.

    ``bias``: a tensor's name, or integers in steps of the accumulator; ``behind``: more nodes of the layer; ``given``:
    the input, if it has an offset.
    """
    channels, pads = weight.shape[0], geometry.get("pads", ())
    step = np.broadcast_to(scale, (channels,)) * source.scale
    steps = _bias(view, bias, channels, step) if isinstance(bias, str) else bias.astype(np.float64)
    if given is not None and given.offset:
        steps = steps + _offset_steps(given, weight, pads)
    own = (index, *behind)
    chain = follow(view, own[-1]) if scope.any_scale else None
    if chain is None:
        output, nodes = finish(view, index, scope, behind)
    else:
        output, nodes = chain.output(scope), (*own[:-1], *chain.nodes)
    layer = IntLayer(
        name=view.name_of(index),
        op="conv",
        inputs=(source,),
        output=output,
        nodes=nodes,
        low=output.low,
        high=output.high,
        weight=weight,
        bias=np.zeros(channels, np.int64) if scope.any_scale else _whole(steps),
        true_weights=true_weights,
        before=() if given is None else given.nodes,
        pad_value=pad_value(scope, source, pads),
        **geometry,  # type: ignore[arg-type]  # strides, pads, dilations: each of its own length
    )
    if chain is not None:
        return fit_epilogue(layer, chain, step, steps)
    if scope.any_scale:
        return replace(layer, requant=conv_requant(source, scale, steps, weight, output))
    shift = np.array([exponent(output.scale, float(value)) for value in step], dtype=np.int64)
    sums = weight.reshape(channels, -1).sum(axis=1)
    return replace(layer, shift=shift, bias=layer.bias - source.zero * sums + shifted(output.zero, shift))


def _offset_steps(given: Affine, weight: Ints, pads: tuple[int, ...]) -> Floats:
    """What the input's offset adds to each channel's sum. Raises NotALayerError for one that is padded without it."""
    if any(pads):
        raise NotALayerError("it pads an input whose real 0 is no integer")
    sums = weight.reshape(len(weight), -1).sum(axis=1) // given.powers
    return np.asarray(given.offset / given.source.scale * sums)


def pad_value(scope: Scope, source: QTensor, pads: tuple[int, ...]) -> int:
    """What the input is padded with: its zero point. Raises NotALayerError where LOAD cannot pad with it."""
    if not any(pads) or source.zero == 0:
        return 0
    if "pad_value" not in scope.cfg.extensions:
        raise NotALayerError(
            f"it pads an input whose zero point is {source.zero}, configuration {scope.cfg.name} lacks pad_value"
        )
    if scope.cfg.wgt_width == 1:
        raise NotALayerError("it pads an input with a zero point, and 1-bit weights cannot leave padded channels out")
    return source.zero


def pool_window(view: GraphView, index: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Kernel, strides and pads of a MaxPool on 4-dimensional tensors. Raises NotALayerError for one of another kind."""
    named = attributes(view.nodes[index])
    shape, made = view.shapes.get(view.nodes[index].input[0], ()), [name for name in view.nodes[index].output if name]
    if len(shape) != 4 or len(made) != 1 or any(step != 1 for step in named.get("dilations", ())):
        raise NotALayerError("it is not 2-dimensional, or has dilations or indices")
    kernel = tuple(named["kernel_shape"])
    return kernel, tuple(named.get("strides", (1, 1))), explicit_pads(view, index, kernel, *shape[2:])


def rank_of(view: GraphView, index: int, source: QTensor) -> int:
    """Dimensions of a node's first input, which need not be those of the ``source`` behind it."""
    return len(view.shapes.get(view.nodes[index].input[0], source.shape))


def conv(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """A Conv of any number of groups on 4-dimensional tensors. Raises NotALayerError."""
    node, named = view.nodes[index], attributes(view.nodes[index])
    given = affine_activation(view, node.input[0], scope)
    source = given.source
    weight = constant(view, node.input[1])
    if rank_of(view, index, source) != 4 or weight.values.ndim != 4:
        raise NotALayerError("it is not 2-dimensional")
    if weight.scale.size not in (1, weight.values.shape[0]) or (weight.scale.size > 1 and weight.axis != 0):
        raise NotALayerError("its weight scale is not one per tensor or output channel")
    _check_groups(named.get("group", 1), weight.values.shape, source.nchw[1])
    kernel = weight.values.shape[2], weight.values.shape[3]
    pads = explicit_pads(view, index, kernel, *source.nchw[2:])
    given, values, split = in_digits(view, index, scope, given, weight.values)
    return conv_layer(
        view,
        index,
        scope,
        given.source,
        values,
        weight.scale,
        node.input[2] if len(node.input) > 2 else "",
        given=given,
        strides=tuple(named.get("strides", [1, 1])),
        pads=(0, 0, 0, 0) if split else pads,
        dilations=tuple(named.get("dilations", [1, 1])),
        true_weights=weight.values.size if split else 0,
    )


def _check_groups(groups: int, weight: tuple[int, ...], channels: int) -> None:
    """Raises NotALayerError unless the groups divide the channels of input and output."""
    if groups < 1 or channels % groups or weight[0] % groups:
        raise NotALayerError(f"its {groups} groups do not divide {channels} input and {weight[0]} output channels")
    if weight[1] * groups != channels:
        raise NotALayerError(f"its weight has {weight[1]} input channels, its input {channels} in {groups} groups")


def _dense(
    view: GraphView,
    index: int,
    scope: Scope,
    item: Constant,
    transposed: bool,
    bias: str,
    behind: tuple[int, ...] = (),
) -> IntLayer:
    """A matrix times a constant one: [N, features], or [N, rows, features], whose rows are an image's positions.

    ``behind``: nodes behind it that belong to it.
    """
    real = view.nodes[index].input[0]
    rank = len(view.shapes.get(real, ()))
    if rank not in (2, 3) or item.values.ndim != 2:
        raise NotALayerError(
            f"its input has {rank} dimensions, its weight {item.values.ndim}: 2 or 3 dimensions times 2 can run"
        )
    matrix = item.values if transposed else item.values.T
    axis = 0 if transposed else 1
    if item.scale.size not in (1, matrix.shape[0]) or (item.scale.size > 1 and item.axis != axis):
        raise NotALayerError("its weight scale is not one per tensor or output channel")
    given, wide, split = in_digits(
        view, index, scope, affine_activation(view, real, scope, flattened=rank == 2), matrix
    )
    source = given.source
    if split:
        wide = wide[:, :, None, None]
        return conv_layer(view, index, scope, source, wide, item.scale, bias, behind, given=given)
    features = source.nchw[1] if rank == 3 else math.prod(source.shape[1:])
    if matrix.shape[1] != features:
        raise NotALayerError(f"its weight has {matrix.shape[1]} input features, its input {features}")
    if given.places is not None:
        ordered = np.zeros_like(matrix)
        ordered[:, given.places] = matrix
        matrix = ordered
    # A kernel that is the whole input needs no flattening.
    weight = matrix[:, :, None, None] if rank == 3 else channels_first(matrix.reshape(-1, *source.shape[1:]))
    return conv_layer(view, index, scope, source, np.ascontiguousarray(weight), item.scale, bias, behind, given=given)


def gemm(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """A Gemm with alpha = beta = 1 and a constant second matrix. Raises NotALayerError."""
    node, named = view.nodes[index], attributes(view.nodes[index])
    if named.get("alpha", 1.0) != 1.0 or named.get("beta", 1.0) != 1.0 or named.get("transA", 0):
        raise NotALayerError("it has alpha, beta or transA")
    bias = node.input[2] if len(node.input) > 2 else ""
    return _dense(view, index, scope, constant(view, node.input[1]), bool(named.get("transB", 0)), bias)


def matmul(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """A MatMul with a constant second matrix, and the Add of a constant vector behind it. Raises NotALayerError."""
    node = view.nodes[index]
    added = bias_adder(view, index)
    bias = "" if added is None else view.nodes[added].input[1 - list(view.nodes[added].input).index(node.output[0])]
    return _dense(view, index, scope, constant(view, node.input[1]), False, bias, () if added is None else (added,))


def bias_adder(view: GraphView, index: int) -> int | None:
    """The Add directly behind a MatMul that adds a constant vector of its features."""
    output = view.nodes[index].output[0]
    following = view.single_consumer(output)
    if following is None or view.nodes[following].op_type != "Add":
        return None
    other = next((name for name in view.nodes[following].input if name != output), "")
    maker = view.producer.get(other)
    stored = other if maker is None else view.nodes[maker].input[0]
    dequantized = maker is None or view.nodes[maker].op_type == "DequantizeLinear"
    shape, made = view.shapes.get(other), view.shapes.get(output, ())
    vector = dequantized and stored in view.initializers and shape is not None and shape == made[-1:]
    return following if vector else None


def add(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """An Add of two activations of the same shape. Raises NotALayerError."""
    left, right = (activation(view, name, scope) for name in view.nodes[index].input)
    if left.nchw != right.nchw or len({view.shapes.get(name) for name in view.nodes[index].input}) > 1:
        raise NotALayerError(f"its inputs have different shapes, {left.shape} and {right.shape}")
    output, nodes = finish(view, index, scope)
    layer = IntLayer(
        name=view.name_of(index),
        op="add",
        inputs=(left, right),
        output=output,
        nodes=nodes,
        low=output.low,
        high=output.high,
    )
    if scope.any_scale:
        factors, requant = add_requant(scope.cfg, left, right, output)
        return replace(layer, factors=factors, requant=requant)
    fine = min(left.scale, right.scale)
    factors = 1 << exponent(left.scale, fine), 1 << exponent(right.scale, fine)
    shift = np.array([exponent(output.scale, fine)], dtype=np.int64)
    bias = shifted(output.zero, shift) - (left.zero * factors[0] + right.zero * factors[1])
    return replace(layer, factors=factors, shift=shift, bias=bias)
