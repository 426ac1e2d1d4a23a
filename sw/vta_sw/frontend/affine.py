"""Activations of two values, and scalings in front of layers: everything a layer reads becomes a * integers + b.

A threshold or sign makes one of two numbers: bits, dequantized, plus the lesser of them. Where scalings by one number
stand between integers and a MaxPool, Flatten or Transpose they move behind it, so that it works on the integers.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from .graph import Graph, int_attribute

_COMPARISONS = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And", "Or"})
_SCALINGS = frozenset({"Mul", "Div", "Add", "Sub"})
_LAYERS = _SCALINGS | {"Conv", "Gemm", "MatMul", "Concat", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape"}
_MOVING = frozenset({"MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})


def integer_activations(graph: Graph) -> None:
    """Both rewrites, in a network that is quantized. Results stay the same, bit by bit."""
    if not any(node.op_type == "DequantizeLinear" for node in graph.nodes):
        return
    _quantize_two_values(graph)
    while _sink_scalings(graph):
        pass
    _quantize_maxima(graph)


def _scalar(graph: Graph, name: str) -> np.float32 | None:
    value = graph.array(name)
    return np.float32(np.asarray(value).reshape(-1)[0]) if value is not None and value.size == 1 else None


def _two_values(graph: Graph, node: NodeProto, makers: dict[str, NodeProto]) -> tuple[np.float32, np.float32] | None:
    """The values of a tensor that has two, the lesser first; None for others."""
    maker = makers.get(node.input[0]) if node.input else None
    if maker is None or maker.op_type not in _COMPARISONS:
        return None
    if node.op_type == "Cast" and int_attribute(node, "to", 0) == TensorProto.FLOAT:
        return np.float32(0), np.float32(1)
    if node.op_type != "Where":
        return None
    given, other = (_scalar(graph, name) for name in node.input[1:3])
    if given is None or other is None or not np.isfinite([given, other]).all() or given == other:
        return None
    low, high = min(given, other), max(given, other)
    return (low, high) if np.float32(high - low) + low == high else None


def _quantize_two_values(graph: Graph) -> None:
    """Behind such a tensor: QuantizeLinear and DequantizeLinear of its distance from the lesser value, and that."""
    makers = graph.producers()
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        found = _two_values(graph, node, makers)
        if found is None:
            nodes.append(node)
            continue
        low, high = found
        name, result = node.name, node.output[0]
        names = {key: graph.fresh(f"{name}.{key}") for key in ("distance", "bit", "real")}
        pair = [
            graph.add_constant(graph.fresh(f"{name}.step"), np.array(high - low, np.float32)),
            graph.add_constant(graph.fresh(f"{name}.zero"), np.array(0, np.uint8)),
        ]
        least = graph.add_constant(graph.fresh(f"{name}.least"), np.array(low, np.float32))
        if node.op_type == "Where":
            for at in (1, 2):
                value = np.array(_scalar(graph, node.input[at]), np.float32) - low
                node.input[at] = graph.add_constant(graph.fresh(f"{name}.value{at}"), np.asarray(value, np.float32))
        node.output[0] = names["distance"]
        ends = [("QuantizeLinear", "distance", names["bit"]), ("DequantizeLinear", "bit", names["real"])]
        made = [
            helper.make_node(op, [names[source], *pair], [output], name=f"{name}.{op}") for op, source, output in ends
        ]
        if low == 0:
            made[-1].output[0] = result
        else:
            made.append(helper.make_node("Add", [names["real"], least], [result], name=f"{name}.Add"))
        nodes += [node, *made]
    graph.nodes = nodes


def _scaling(graph: Graph, node: NodeProto | None) -> bool:
    """Whether a node adds or multiplies one number so that larger inputs give larger results."""
    if node is None or node.op_type not in _SCALINGS or node.domain or len(node.input) != 2:
        return False
    values = [_scalar(graph, name) for name in node.input]
    if (values[0] is None) == (values[1] is None):
        return False
    if any(
        len(graph.shape(name) or ()) > 1 for name, value in zip(node.input, values, strict=True) if value is not None
    ):
        return False
    factor = values[1] if values[0] is None else values[0]
    if node.op_type in ("Sub", "Div") and values[0] is not None:
        return False
    return node.op_type in ("Add", "Sub") or (factor is not None and bool(factor > 0))


def _sink_scalings(graph: Graph) -> bool:
    """Scaling -> MaxPool becomes MaxPool -> scaling, once. True if one was found."""
    makers, readers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        above = makers.get(node.input[0]) if node.op_type in _MOVING and not node.domain else None
        if above is None or len([name for name in node.output if name]) != 1 or not _scaling(graph, above):
            continue
        if len(readers[above.output[0]]) != 1 or above.output[0] in graph.output_names:
            continue
        at = next(index for index, name in enumerate(above.input) if graph.array(name) is None)
        between = graph.fresh(f"{node.output[0]}.unscaled")
        node.input[0] = above.input[at]
        above.input[at], above.output[0], node.output[0] = between, node.output[0], between
        # Their places in the order change, too.
        first, second = (next(i for i, item in enumerate(graph.nodes) if item is one) for one in (above, node))
        graph.nodes[first], graph.nodes[second] = node, above
        graph.sort()
        return True
    return False


def _quantize_maxima(graph: Graph) -> None:
    """A MaxPool of dequantized integers that a layer reads as a real number: quantized again, with the same scale."""
    makers, readers = graph.producers(), graph.consumers()
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        nodes.append(node)
        above = makers.get(node.input[0]) if node.op_type == "MaxPool" and len(node.output) == 1 else None
        if above is None or above.op_type != "DequantizeLinear" or len(above.input) < 3:
            continue
        result = node.output[0]
        if result in graph.output_names or any(item.op_type not in _LAYERS for item in readers.get(result, [])):
            continue
        parameters = list(above.input[1:3])
        names = {key: graph.fresh(f"{result}.{key}") for key in ("quantized", "real")}
        graph.replace_uses(result, names["real"], readers[result])
        ends = [("QuantizeLinear", result, "quantized"), ("DequantizeLinear", names["quantized"], "real")]
        nodes += [
            helper.make_node(op, [source, *parameters], [names[key]], name=f"{node.name}.{op}")
            for op, source, key in ends
        ]
    graph.nodes = nodes
