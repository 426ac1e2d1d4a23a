"""Rewrites to one canonical form: BatchNormalization, bias and padding inside Conv, dense layers as Gemm."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from .graph import Graph, attribute, int_attribute, ints_attribute, reads, set_attribute
from .transposed import input_first, output_first

Floats = NDArray[np.floating[Any]]
_LAYERS = ("Conv", "ConvTranspose", "Gemm")


def _only_reader(graph: Graph, tensor: str, op_type: str, consumers: dict[str, list[NodeProto]]) -> NodeProto | None:
    """The node that alone reads a tensor, if it is of this type and the tensor is no output."""
    readers = consumers.get(tensor, [])
    if tensor in graph.output_names or len(readers) != 1 or readers[0].op_type != op_type or readers[0].domain:
        return None
    return readers[0]


def _floats(graph: Graph, name: str) -> Floats | None:
    value = graph.array(name)
    return cast(Floats, value) if value is not None and value.dtype in (np.float32, np.float64) else None


def _own(graph: Graph, node: NodeProto, index: int, value: NDArray[np.generic], suffix: str) -> None:
    """Give a node a constant input of its own; its name is kept when nobody else reads it."""
    old = node.input[index] if len(node.input) > index else ""
    alone = old not in ("", *graph.output_names) and sum(old in reads(other) for other in graph.nodes) == 1
    name = old if alone else graph.fresh(f"{node.name}.{suffix}")
    graph.add_constant(name, value)
    if len(node.input) > index:
        node.input[index] = name
    else:
        node.input.append(name)


def _take_over(graph: Graph, node: NodeProto, follower: NodeProto) -> None:
    """``node`` makes what ``follower`` made; the follower goes."""
    node.output[0] = follower.output[0]
    graph.drop([follower])


def _layer_constants(graph: Graph, node: NodeProto) -> tuple[Floats, Floats] | None:
    """Weight [out, ...] and bias [out] of a convolution or canonical Gemm, None if they are not constant."""
    weight = _floats(graph, node.input[1])
    if weight is None or (node.op_type == "Gemm" and not is_canonical_gemm(graph, node)):
        return None
    if node.op_type == "ConvTranspose":
        groups = int_attribute(node, "group", 1)
        if weight.ndim < 2 or groups < 1 or weight.shape[0] % groups:
            return None
        weight = output_first(weight, groups)
    if len(node.input) < 3 or not node.input[2]:
        return weight, np.zeros(weight.shape[0], dtype=weight.dtype)
    bias = _floats(graph, node.input[2])
    return None if bias is None else (weight, bias)


def _own_weight(graph: Graph, node: NodeProto, weight: Floats) -> None:
    """Give a layer a weight [out, ...] of its own."""
    if node.op_type == "ConvTranspose":
        weight = input_first(weight, int_attribute(node, "group", 1))
    _own(graph, node, 1, weight, "weight")


def fold_batch_normalization(graph: Graph) -> None:
    """Convolution (or Gemm) -> BatchNormalization: scale the weights, move the bias."""
    consumers = graph.consumers()
    for node in list(graph.nodes):
        follower = _only_reader(graph, node.output[0], "BatchNormalization", consumers)
        if node.op_type not in _LAYERS or follower is None or int_attribute(follower, "training_mode", 0):
            continue
        constants = _layer_constants(graph, node)
        parameters = [_floats(graph, name) for name in follower.input[1:5]]
        if constants is None or any(value is None for value in parameters) or follower.input[0] != node.output[0]:
            continue
        gamma, beta, mean, variance = (np.asarray(value, dtype=np.float64) for value in parameters)
        epsilon = attribute(follower, "epsilon", 1e-5)
        spread = variance + (epsilon if isinstance(epsilon, float) else 1e-5)
        if not (spread > 0).all():
            continue
        factor = gamma / np.sqrt(spread)
        weight, bias = constants
        scaled = weight.astype(np.float64) * factor.reshape(-1, *([1] * (weight.ndim - 1)))
        _own_weight(graph, node, scaled.astype(weight.dtype))
        _own(graph, node, 2, (beta + (bias - mean) * factor).astype(weight.dtype), "bias")
        _take_over(graph, node, follower)
        consumers = graph.consumers()


def _channel_vector(value: Floats, channels: int, rank: int) -> Floats | None:
    """A constant operand as one value a channel (axis 1 of ``rank`` axes), None if it is anything else."""
    if value.ndim > rank:
        return None
    aligned = value.reshape((1,) * (rank - value.ndim) + value.shape)
    others = aligned.size // aligned.shape[1] if aligned.size else 0
    if others != 1 or aligned.shape[1] not in (1, channels):
        return None
    return np.broadcast_to(aligned.reshape(-1), (channels,)).copy()


def fold_bias_add(graph: Graph) -> None:
    """Convolution or Gemm -> Add of one constant a channel: into the bias."""
    consumers = graph.consumers()
    for node in list(graph.nodes):
        follower = _only_reader(graph, node.output[0], "Add", consumers)
        constants = _layer_constants(graph, node) if node.op_type in _LAYERS else None
        if constants is None or follower is None:
            continue
        weight, bias = constants
        other = follower.input[1] if follower.input[0] == node.output[0] else follower.input[0]
        value = _floats(graph, other)
        rank = 2 if node.op_type == "Gemm" else weight.ndim
        vector = None if value is None else _channel_vector(value, weight.shape[0], rank)
        if vector is None:
            continue
        _own(graph, node, 2, (bias + vector).astype(weight.dtype), "bias")
        _take_over(graph, node, follower)
        consumers = graph.consumers()


def is_canonical_gemm(graph: Graph, node: NodeProto) -> bool:
    """Constant weights [out, in], transB, no factors, and a bias (if any) of [out]."""
    plain = int_attribute(node, "transA", 0) == 0 and int_attribute(node, "transB", 0) == 1
    unscaled = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
    weight = graph.shape(node.input[1])
    bias = graph.shape(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return plain and unscaled and weight is not None and (bias is None or bias == weight[:1])


def canonical_gemm(graph: Graph) -> None:
    """MatMul of a matrix by a constant matrix becomes Gemm; Gemm takes its factors into its constants."""
    for node in graph.nodes:
        weight = _floats(graph, node.input[1]) if node.op_type in ("MatMul", "Gemm") and not node.domain else None
        if weight is None or weight.ndim != 2 or node.input[0] in graph.constants:
            continue
        if node.op_type == "MatMul":
            shape = graph.shape(node.input[0])
            if shape is None or len(shape) != 2:
                continue
            node.op_type = "Gemm"
            _own(graph, node, 1, np.ascontiguousarray(weight.T), "weight")
            set_attribute(node, "transB", 1)
        elif int_attribute(node, "transA", 0) == 0 and not is_canonical_gemm(graph, node):
            _absorb_factors(graph, node, weight)


def _absorb_factors(graph: Graph, node: NodeProto, weight: Floats) -> None:
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    if not isinstance(alpha, float) or not isinstance(beta, float):
        return
    scaled = weight * weight.dtype.type(alpha)
    matrix = scaled if int_attribute(node, "transB", 0) else scaled.T
    if len(node.input) > 2 and node.input[2]:
        value = _floats(graph, node.input[2])
        vector = None if value is None else _channel_vector(value, matrix.shape[0], 2)
        if vector is None:
            return
        _own(graph, node, 2, vector * vector.dtype.type(beta), "bias")
    _own(graph, node, 1, np.ascontiguousarray(matrix), "weight")
    for name, setting in (("transB", 1), ("alpha", None), ("beta", None)):
        set_attribute(node, name, setting)


def explicit_padding(graph: Graph) -> None:
    """auto_pad of Conv and pools becomes pads, where the input's size is known."""
    for node in graph.nodes:
        mode = attribute(node, "auto_pad", "NOTSET")
        if node.op_type not in ("Conv", "MaxPool", "AveragePool") or mode == "NOTSET":
            continue
        shape = graph.shape(node.input[0])
        weight = (graph.shape(node.input[1]) or ()) if len(node.input) > 1 else ()
        kernel = ints_attribute(node, "kernel_shape", [extent or 0 for extent in weight[2:]])
        if shape is None or None in shape[2:] or not kernel or len(kernel) != len(shape) - 2:
            continue
        sizes = [extent or 0 for extent in shape[2:]]
        strides = ints_attribute(node, "strides", [1] * len(kernel))
        dilations = ints_attribute(node, "dilations", [1] * len(kernel))
        totals = [
            max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0) if mode != "VALID" else 0
            for size, stride, k, dilation in zip(sizes, strides, kernel, dilations, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        set_attribute(node, "auto_pad", None)
        set_attribute(node, "pads", [*small, *large] if mode != "SAME_LOWER" else [*large, *small])


def _spatial_pads(graph: Graph, node: NodeProto) -> list[int] | None:
    """(begin..., end...) of a Pad that adds zeros to the spatial axes only, None for any other."""
    if attribute(node, "mode", "constant") != "constant" or len(node.input) < 2:
        return None
    pads = graph.array(node.input[1])
    shape = graph.shape(node.input[0])
    if pads is None or shape is None or (len(node.input) > 3 and node.input[3]):
        return None
    if len(node.input) > 2 and node.input[2]:
        value = graph.array(node.input[2])
        if value is None or bool(np.any(value)):
            return None
    begin, end = pads[: len(shape)].tolist(), pads[len(shape) :].tolist()
    if len(end) != len(shape) or min(*begin, *end) < 0 or any((*begin[:2], *end[:2])):
        return None
    return [*begin[2:], *end[2:]]


def fold_pad(graph: Graph) -> None:
    """Pad of zeros -> Conv: into the pads of the Conv."""
    consumers = graph.consumers()
    for node in list(graph.nodes):
        follower = _only_reader(graph, node.output[0], "Conv", consumers) if node.op_type == "Pad" else None
        pads = None if follower is None else _spatial_pads(graph, node)
        if follower is None or pads is None or attribute(follower, "auto_pad", "NOTSET") != "NOTSET":
            continue
        if follower.input[0] != node.output[0]:
            continue
        own = ints_attribute(follower, "pads", [0] * len(pads))
        set_attribute(follower, "pads", [a + b for a, b in zip(own, pads, strict=True)])
        follower.input[0] = node.input[0]
        graph.drop([node])


def mean_to_pool(graph: Graph) -> None:
    """ReduceMean over height and width becomes GlobalAveragePool, with Flatten behind it where it drops the axes."""
    for node in list(graph.nodes):
        if node.op_type != "ReduceMean" or node.domain:
            continue
        shape = graph.shape(node.input[0])
        given = graph.array(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        axes = given.tolist() if given is not None else list(ints_attribute(node, "axes", ()))
        if shape is None or len(shape) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
            continue
        if not int_attribute(node, "keepdims", 1):
            pooled = graph.fresh(f"{node.output[0]}_pooled")
            flatten = helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}.flatten")
            node.output[0] = pooled
            graph.nodes.insert(graph.nodes.index(node) + 1, flatten)
        node.op_type = "GlobalAveragePool"
        del node.input[1:], node.attribute[:]


def split_to_slices(graph: Graph) -> None:
    """Split on channels becomes one Slice for each result."""
    for node in list(graph.nodes):
        shape = graph.shape(node.input[0]) if node.op_type == "Split" and not node.domain else None
        if shape is None or len(shape) < 2 or int_attribute(node, "axis", 0) not in (1, 1 - len(shape)):
            continue
        made = [graph.shape(name) for name in node.output]
        if any(item is None or len(item) < 2 or item[1] is None for item in made):
            continue
        slices, first = [], 0
        for name, item in zip(node.output, made, strict=True):
            end = first + ((item or (0, 0))[1] or 0)
            values = [("starts", first), ("ends", end), ("axes", 1)]
            inputs = [graph.add_constant(graph.fresh(f"{name}.{key}"), np.array([v])) for key, v in values]
            slices.append(helper.make_node("Slice", [node.input[0], *inputs], [name], name=f"{node.name}.{name}"))
            first = end
        place = graph.nodes.index(node)
        graph.nodes[place : place + 1] = slices


def transpose_dequantized(graph: Graph) -> None:
    """DequantizeLinear of a constant -> Transpose: the constant is stored transposed."""
    makers = graph.producers()
    for node in list(graph.nodes):
        maker = makers.get(node.input[0]) if node.op_type == "Transpose" and not node.domain else None
        if maker is None or maker.op_type != "DequantizeLinear" or int_attribute(maker, "block_size", 0):
            continue
        stored = graph.array(maker.input[0])
        if stored is None or node.output[0] in graph.output_names:
            continue
        order = list(ints_attribute(node, "perm", range(stored.ndim)[::-1]))
        name = graph.fresh(f"{maker.input[0]}.transposed")
        graph.add_constant(name, np.ascontiguousarray(stored.transpose(order)))
        axis = order.index(int_attribute(maker, "axis", 1) % stored.ndim)
        parameters = [name, *maker.input[1:]]
        made = helper.make_node("DequantizeLinear", parameters, [node.output[0]], name=node.name, axis=axis)
        graph.nodes[graph.nodes.index(node)] = made
    graph.drop_dead()
