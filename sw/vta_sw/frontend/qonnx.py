"""QONNX operators (Quant, BipolarQuant, Trunc) as standard ONNX.

Where ONNX can say it exactly, Quant becomes Clip, QuantizeLinear and DequantizeLinear (both round half to even), of a
constant only the last; elsewhere, as Trunc, it becomes the float operators that define it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper
from vta_arch.errors import ModelError

from .graph import Graph, attribute, int_attribute

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
_ROUNDING = {"ROUND": "Round", "HALF_EVEN": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}
_NUMPY_ROUNDING = {"Round": np.rint, "Ceil": np.ceil, "Floor": np.floor}

Floats = NDArray[np.float32]


def lower_qonnx(graph: Graph) -> None:
    """Replace every Quant, BipolarQuant and Trunc. Raises ModelError for a form that has no standard equivalent."""
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        if node.domain not in DOMAINS:
            nodes.append(node)
        elif node.op_type == "BipolarQuant":
            nodes.extend(_bipolar_weight(graph, node) or _bipolar(graph, node))
        elif node.op_type == "Quant":
            nodes.extend(_lower_quant(graph, node))
        elif node.op_type == "Trunc":
            nodes.extend(_trunc(graph, node))
        else:
            raise ModelError(f"node {node.name!r}: the QONNX operator {node.op_type} is not supported")
    graph.nodes = nodes


def _constant(graph: Graph, node: NodeProto, suffix: str, value: NDArray[np.generic] | float) -> str:
    array = np.array(value, dtype=np.float32) if isinstance(value, float) else value
    return graph.add_constant(graph.fresh(f"{node.name or node.output[0]}.{suffix}"), array)


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


# BipolarQuant ------------------------------------------------------------------------------
def _bipolar(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """x >= 0 -> +scale, else -scale."""
    stem = node.name or node.output[0]
    zero, sign, negative = _constant(graph, node, "zero", 0.0), f"{stem}.sign", f"{stem}.negative"
    return [
        helper.make_node("GreaterOrEqual", [node.input[0], zero], [sign], name=f"{stem}.GreaterOrEqual"),
        helper.make_node("Neg", [node.input[1]], [negative], name=f"{stem}.Neg"),
        helper.make_node("Where", [sign, node.input[1], negative], [node.output[0]], name=stem),
    ]


def _bipolar_weight(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """A constant: +1 and -1, dequantized. Empty when it is none."""
    value, scale = (graph.array(name) for name in node.input[:2])
    if value is None or scale is None:
        return []
    signs = np.where(np.asarray(value) >= 0, 1, -1).astype(np.int8)
    return _dequantized(graph, node, signs, np.asarray(scale, np.float32), np.zeros((), np.int8))


def _dequantized(
    graph: Graph, node: NodeProto, stored: NDArray[np.integer], scale: Floats, zero: NDArray[np.integer]
) -> list[NodeProto]:
    """DequantizeLinear of a constant with one scale, or one along an axis. Empty for other scales."""
    axis = _axis_of(scale, stored.ndim)
    if axis is None or (scale.size > 1 and scale.size != stored.shape[axis]):
        return []
    flat = scale.reshape(()) if scale.size == 1 else scale.reshape(-1)
    zeros = np.broadcast_to(zero.reshape(-1), flat.reshape(-1).shape).reshape(flat.shape)
    inputs = [
        _constant(graph, node, suffix, np.ascontiguousarray(value))
        for suffix, value in (("stored", stored), ("scale", flat), ("zero", zeros.astype(stored.dtype)))
    ]
    named = {} if scale.size == 1 else {"axis": axis}
    stem = node.name or node.output[0]
    return [helper.make_node("DequantizeLinear", inputs, [node.output[0]], name=stem, **named)]


def _axis_of(scale: Floats, rank: int) -> int | None:
    """The one axis along which a scale differs, 0 where it is a single number, None for several."""
    if scale.size == 1:
        return 0
    shape = (1,) * (rank - scale.ndim) + scale.shape
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    return axes[0] if len(axes) == 1 and len(shape) == rank else None


# Quant -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Quant:
    """The settings of a Quant: bounds of its integers, its rounding as an ONNX operator, scale and zero point."""

    low: float
    high: float
    rounding: str
    scale: Floats | None
    zero: Floats | None

    @property
    def dtype(self) -> type[np.integer] | None:
        """The type of a byte that holds its integers and an integer zero point, None when there is none."""
        if self.zero is None or np.any(self.zero != np.rint(self.zero)):
            return None
        for kind in (np.int8, np.uint8):
            limits = np.iinfo(kind)
            values = (self.low, self.high, float(self.zero.min()), float(self.zero.max()))
            if limits.min <= min(values) and max(values) <= limits.max and (kind is np.uint8) == (self.low == 0):
                return kind
        return None


def _read(graph: Graph, node: NodeProto) -> _Quant:
    bits = graph.array(node.input[3])
    mode = str(attribute(node, "rounding_mode", "ROUND")).upper()
    if bits is None or bits.size != 1 or mode not in _ROUNDING:
        raise ModelError(f"node {node.name!r}: Quant with a computed bit width or rounding {mode!r} is not supported")
    signed, narrow = int_attribute(node, "signed", 1), int_attribute(node, "narrow", 0)
    width = float(np.asarray(bits).reshape(-1)[0])
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    high = 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow
    return _Quant(low, high, _ROUNDING[mode], *(_floats(graph, name) for name in node.input[1:3]))


def _floats(graph: Graph, name: str) -> Floats | None:
    value = graph.array(name)
    return None if value is None else np.asarray(value, np.float32)


def _lower_quant(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """The shortest form that is exact."""
    quant = _read(graph, node)
    return (
        _constant_quant(graph, node, quant)
        or _activation_quant(graph, node, quant)
        or _chain(node, _definition(graph, node, quant))
    )


def _constant_quant(graph: Graph, node: NodeProto, quant: _Quant) -> list[NodeProto]:
    """A constant: its integers, dequantized. Empty when it is none, or they need more than a byte."""
    value = graph.array(node.input[0])
    if value is None or quant.scale is None or quant.zero is None or quant.dtype is None:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.clip(np.asarray(value, np.float32) / quant.scale + quant.zero, quant.low, quant.high)
    if not np.all(np.isfinite(steps)):
        return []
    stored = _NUMPY_ROUNDING[quant.rounding](steps).astype(quant.dtype)
    return _dequantized(graph, node, stored, quant.scale, quant.zero.astype(quant.dtype))


def _activation_quant(graph: Graph, node: NodeProto, quant: _Quant) -> list[NodeProto]:
    """Clip, QuantizeLinear and DequantizeLinear. Empty unless scale and zero point are single numbers of a byte.

    ONNX adds the zero point after rounding, QONNX before. So with one, as for other roundings than to the nearest, the
    float operators come first, and what they make is quantized exactly.
    """
    scale, zero, kind = quant.scale, quant.zero, quant.dtype
    if scale is None or zero is None or kind is None or scale.size != 1 or zero.size != 1 or not scale.min() > 0:
        return []
    step, offset = np.float32(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
    names = [
        _constant(graph, node, suffix, np.array(item, type_))
        for suffix, item, type_ in (
            ("low", np.float32(quant.low - offset) * step, np.float32),
            ("high", np.float32(quant.high - offset) * step, np.float32),
            ("step", step, np.float32),
            ("zero", offset, kind),
        )
    ]
    first = _definition(graph, node, quant) if offset or quant.rounding != "Round" else []
    pair = names[2:]
    return _chain(node, [*first, ("Clip", names[:2]), ("QuantizeLinear", pair), ("DequantizeLinear", pair)])


def _definition(graph: Graph, node: NodeProto, quant: _Quant) -> list[tuple[str, list[str]]]:
    """(clip(x / scale + zero_point) rounded - zero_point) * scale."""
    bounds = [_constant(graph, node, "least", quant.low), _constant(graph, node, "most", quant.high)]
    return [
        ("Div", [node.input[1]]),
        ("Add", [node.input[2]]),
        ("Clip", bounds),
        (quant.rounding, []),
        ("Sub", [node.input[2]]),
        ("Mul", [node.input[1]]),
    ]


def _trunc(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """The most significant bits: inputs x, scale, zero point, bits before and after; the scale stays."""
    before, after = (graph.array(name) for name in node.input[3:5])
    mode = str(attribute(node, "rounding_mode", "FLOOR")).upper()
    if before is None or after is None or before.size != 1 or after.size != 1 or mode not in _ROUNDING:
        raise ModelError(f"node {node.name!r}: Trunc with computed bit widths or rounding {mode!r} is not supported")
    dropped = float(np.asarray(before).reshape(-1)[0]) - float(np.asarray(after).reshape(-1)[0])
    return _chain(
        node,
        [
            ("Div", [node.input[1]]),
            ("Add", [node.input[2]]),
            ("Round", []),
            ("Div", [_constant(graph, node, "dropped", float(2.0**dropped))]),
            (_ROUNDING[mode], []),
            ("Sub", [node.input[2]]),
            ("Mul", [node.input[1]]),
        ],
    )
