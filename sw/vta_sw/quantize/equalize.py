"""Cross-layer equalization: channels between two convolutions get like ranges of weights on both sides.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019): a Relu between
both layers lets a positive factor through, so that the network computes the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ..frontend.graph import Graph, int_attribute
from ..frontend.load import infer_shapes

_ROUNDS = 20
_CLOSE = 1e-3
_MOST = 1e3
"""No channel is scaled by more, nor by less than its inverse."""


def equalize(graph: Graph) -> ModelProto:
    """The network with equal ranges, as near as pairs of layers allow; others stay as they are."""
    pairs = list(_pairs(graph))
    weights = {node.input[1]: _floats(graph, node.input[1]) for pair in pairs for node in pair}
    biases = {
        first.input[2]: _floats(graph, first.input[2]) for first, _ in pairs if len(first.input) > 2 and first.input[2]
    }
    for _ in range(_ROUNDS):
        moved = 0.0
        for first, second in pairs:
            factor = _factor(weights[first.input[1]], weights[second.input[1]], _groups(second))
            moved = max(moved, float(np.abs(np.log(factor)).max(initial=0.0)))
            _scale(weights, biases, first, second, factor)
        if moved < _CLOSE:
            break
    for name, value in (*weights.items(), *biases.items()):
        graph.add_constant(name, value.astype(np.float32))
    return infer_shapes(graph.model())


def _pairs(graph: Graph) -> list[tuple[NodeProto, NodeProto]]:
    """Convolutions with only a Relu, or nothing, between them; constants of each belong to it alone."""
    consumers = graph.consumers()
    found = []
    for node in graph.nodes:
        after = _only(graph, consumers, node)
        if after is not None and after.op_type == "Relu":
            after = _only(graph, consumers, after)
        if after is None or node.op_type != "Conv" or after.op_type != "Conv":
            continue
        names = [name for end in (node, after) for name in end.input[1:3] if name]
        if all(name in graph.constants and len(consumers.get(name, [])) == 1 for name in names):
            found.append((node, after))
    return found


def _only(graph: Graph, consumers: dict[str, list[NodeProto]], node: NodeProto) -> NodeProto | None:
    readers = consumers.get(node.output[0], [])
    return readers[0] if len(readers) == 1 and node.output[0] not in graph.output_names else None


def _floats(graph: Graph, name: str) -> NDArray[np.float64]:
    value = graph.array(name)
    assert value is not None, "only constants are equalized"
    return value.astype(np.float64)


def _groups(node: NodeProto) -> int:
    return int_attribute(node, "group", 1)


def _by_input(weight: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """The weights [input channels, ...] that read each input channel."""
    split = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    return np.moveaxis(split, 2, 1).reshape(groups * weight.shape[1], -1)


def _factor(first: NDArray[np.float64], second: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """By what each channel between both is divided in the first and multiplied in the second."""
    out = np.abs(first.reshape(len(first), -1)).max(axis=1)
    read = np.abs(_by_input(second, groups)).max(axis=1)
    usable = (out > 0) & (read > 0)
    ratio = np.sqrt(np.where(usable, out, 1.0) / np.where(usable, read, 1.0))
    return np.clip(ratio, 1 / _MOST, _MOST)


def _scale(
    weights: dict[str, NDArray[np.float64]],
    biases: dict[str, NDArray[np.float64]],
    first: NodeProto,
    second: NodeProto,
    factor: NDArray[np.float64],
) -> None:
    weight, following = weights[first.input[1]], weights[second.input[1]]
    weights[first.input[1]] = weight / factor.reshape(-1, 1, 1, 1)
    groups = _groups(second)
    # Input channel i of group g is channel g * depth + i between both layers.
    by_group = factor.reshape(groups, 1, following.shape[1], 1, 1)
    split = following.reshape(groups, -1, *following.shape[1:]) * by_group
    weights[second.input[1]] = split.reshape(following.shape)
    if len(first.input) > 2 and first.input[2]:
        biases[first.input[2]] = biases[first.input[2]] / factor
