"""QONNX operators (Quant, BipolarQuant) as standard ONNX, so that onnxruntime runs them in float."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper
from vta_arch.errors import ModelError

from .graph import Graph, attribute, int_attribute

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
_ROUNDING = {"ROUND": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}


def lower_qonnx(graph: Graph) -> None:
    """Replace every Quant and BipolarQuant. Raises ModelError for a form that has no standard equivalent."""
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        if node.domain not in DOMAINS:
            nodes.append(node)
        elif node.op_type == "BipolarQuant":
            nodes.extend(_bipolar(graph, node))
        elif node.op_type == "Quant":
            nodes.extend(_quant(graph, node))
        else:
            raise ModelError(f"node {node.name!r}: the QONNX operator {node.op_type} is not supported")
    graph.nodes = nodes


def _constant(graph: Graph, node: NodeProto, suffix: str, value: float) -> str:
    return graph.add_constant(graph.fresh(f"{node.name or node.output[0]}.{suffix}"), np.array(value, dtype=np.float32))


def _chain(node: NodeProto, steps: list[tuple[str, list[str]]]) -> list[NodeProto]:
    """Nodes in a row: each reads the one before it as its first input; the last makes the node's output."""
    made, source, stem = [], node.input[0], node.name or node.output[0]
    for index, (op_type, others) in enumerate(steps):
        last = index == len(steps) - 1
        output = node.output[0] if last else f"{stem}.{index}"
        made.append(
            helper.make_node(op_type, [source, *others], [output], name=stem if last else f"{stem}.{op_type}_{index}")
        )
        source = output
    return made


def _bipolar(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """x >= 0 -> +scale, else -scale."""
    zero = _constant(graph, node, "zero", 0.0)
    stem = node.name or node.output[0]
    sign = f"{stem}.sign"
    negative = f"{stem}.negative"
    return [
        helper.make_node("GreaterOrEqual", [node.input[0], zero], [sign], name=f"{stem}.GreaterOrEqual"),
        helper.make_node("Neg", [node.input[1]], [negative], name=f"{stem}.Neg"),
        helper.make_node("Where", [sign, node.input[1], negative], [node.output[0]], name=stem),
    ]


def _quant(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """(clip(x / scale + zero_point) rounded - zero_point) * scale."""
    bits = graph.array(node.input[3])
    mode = str(attribute(node, "rounding_mode", "ROUND")).upper()
    if bits is None or bits.size != 1 or mode not in _ROUNDING:
        raise ModelError(f"node {node.name!r}: Quant with a computed bit width or rounding {mode!r} is not supported")
    signed, narrow = int_attribute(node, "signed", 1), int_attribute(node, "narrow", 0)
    width = float(bits.reshape(-1)[0])
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    high = 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow
    return _chain(
        node,
        [
            ("Div", [node.input[1]]),
            ("Add", [node.input[2]]),
            ("Clip", [_constant(graph, node, "low", low), _constant(graph, node, "high", high)]),
            (_ROUNDING[mode], []),
            ("Sub", [node.input[2]]),
            ("Mul", [node.input[1]]),
        ],
    )
