"""Operators on quantized tensors (QLinearConv, QGemm, MatMulInteger, ...) as float operators between DequantizeLinear
and QuantizeLinear, which is what they are defined by; so there is one form of quantized networks behind the frontend.

What has no such form stays as it is: ConvInteger and MatMulInteger of a tensor whose scale is computed at run time
(DynamicQuantizeLinear), and operators with dimensions in another order (channels_last).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from .graph import Graph, attribute, int_attribute

MICROSOFT = "com.microsoft"
_STANDARD = ("QuantizeLinear", "DequantizeLinear")


class Expansion:
    """The nodes that replace one node, and how they are called: not like any of ``taken``, which grows."""

    def __init__(self, graph: Graph, node: NodeProto, taken: set[str]) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[NodeProto] = []
        self._taken = taken

    def input(self, index: int) -> str:
        """Name of an input, empty where it is left out."""
        return self.node.input[index] if len(self.node.input) > index else ""

    def name(self, suffix: str) -> str:
        """A tensor's or node's name that is not in use."""
        name, count = f"{self.node.name}.{suffix}", 0
        while name in self._taken:
            count += 1
            name = f"{self.node.name}.{suffix}_{count}"
        self._taken.add(name)
        return name

    def parameter(self, name: str) -> str:
        """A scale or zero point; one that holds a single element is given as a scalar, as opset 17 wants it."""
        value = self.graph.array(name) if name else None
        if value is None or value.size != 1 or value.ndim == 0:
            return name
        return self.graph.add_constant(self.name("parameter"), value.reshape(()))

    def add(self, op_type: str, inputs: list[str], output: str, suffix: str = "", **attributes: Any) -> str:
        """One more node; its output."""
        name = f"{self.node.name}.{suffix}" if suffix else self.node.name
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def real(self, first: int, suffix: str, axis: int | None = None) -> str:
        """Inputs ``first`` to ``first + 2`` (tensor, scale, zero point) dequantized."""
        inputs = [self.input(first), *(self.parameter(self.input(first + at)) for at in (1, 2))]
        return self._dequantize([name for name in inputs if name], suffix, axis)

    def _dequantize(self, inputs: list[str], suffix: str, axis: int | None) -> str:
        known = [value for name in inputs[1:] if (value := self.graph.array(name)) is not None]
        if len(known) == 2 and known[0].size != known[1].size:
            shape = np.broadcast_shapes(*(value.shape for value in known))
            spread = [np.broadcast_to(value, shape) for value in known]  # both one a channel
            inputs = [inputs[0], *(self.graph.add_constant(self.name("spread"), value) for value in spread)]
        scale = self.graph.shape(inputs[1])
        named = {} if axis is None or scale is None or len(scale) == 0 else {"axis": axis}
        return self.add("DequantizeLinear", inputs, self.name(suffix), f"{suffix}_DequantizeLinear", **named)

    def bias(self, name: str, scales: tuple[str, str], factor: float = 1.0) -> str | None:
        """int32 sums dequantized: their scale is the product of two others. None unless those are constant."""
        left, right = (self.graph.array(item) for item in scales)
        if left is None or right is None:
            return None
        product = left.astype(np.float32) * right.astype(np.float32) * np.float32(factor)
        value = product.reshape(()) if product.size == 1 else product.reshape(-1)
        scale = self.graph.add_constant(self.name("bias_scale"), value)
        return self._dequantize([name, scale], "bias", 0)

    def quantized(self, real: str, scale: int, zero: int) -> None:
        """QuantizeLinear to the node's output, with the inputs of these numbers."""
        inputs = [real, self.parameter(self.input(scale)), self.parameter(self.input(zero))]
        self.add("QuantizeLinear", inputs, self.node.output[0], "QuantizeLinear")

    def kept(self, *dropped: str) -> dict[str, Any]:
        """The node's attributes without some."""
        return {a.name: helper.get_attribute_value(a) for a in self.node.attribute if a.name not in dropped}


Rule = Callable[[Expansion], bool]
"""Fills an expansion; False when the node must stay."""


def _conv(new: Expansion) -> bool:
    """QLinearConv: x, scale, zero, w, scale, zero, y scale, zero, bias."""
    if int_attribute(new.node, "channels_last", 0):
        return False
    inputs = [new.real(0, "x"), new.real(3, "w", axis=0)]
    if new.input(8):
        bias = new.bias(new.input(8), (new.input(1), new.input(4)))
        if bias is None:
            return False
        inputs.append(bias)
    new.quantized(new.add("Conv", inputs, new.name("real"), **new.kept("channels_last")), 6, 7)
    return True


def _matmul(new: Expansion) -> bool:
    """QLinearMatMul: a, scale, zero, b, scale, zero, y scale, zero; b has a scale for each column or one."""
    inputs = [new.real(0, "a"), new.real(3, "b", axis=1)]
    new.quantized(new.add("MatMul", inputs, new.name("real")), 6, 7)
    return True


def _gemm(new: Expansion) -> bool:
    """com.microsoft QGemm: a, scale, zero, b, scale, zero, bias (of scale alpha * a * b), y scale, zero or none."""
    alpha = attribute(new.node, "alpha", 1.0)
    assert isinstance(alpha, float)
    columns = 0 if int_attribute(new.node, "transB", 0) else 1
    inputs = [new.real(0, "a"), new.real(3, "b", axis=columns)]
    if new.input(6):
        bias = new.bias(new.input(6), (new.input(1), new.input(4)), alpha)
        if bias is None:
            return False
        inputs.append(bias)
    if not new.input(7):
        new.add("Gemm", inputs, new.node.output[0], **new.kept())
        return True
    new.quantized(new.add("Gemm", inputs, new.name("real"), **new.kept()), 7, 8)
    return True


def _binary(op_type: str) -> Rule:
    """a, scale, zero, b, scale, zero, y scale, zero."""

    def rule(new: Expansion) -> bool:
        if not new.input(7):
            return False
        new.quantized(new.add(op_type, [new.real(0, "a"), new.real(3, "b")], new.name("real")), 6, 7)
        return True

    return rule


def _unary(op_type: str, *dropped: str) -> Rule:
    """x, scale, zero, y scale, zero; ``dropped``: attributes that only the quantized operator has."""

    def rule(new: Expansion) -> bool:
        if int_attribute(new.node, "channels_last", 0) or not new.input(4):
            return False
        new.quantized(new.add(op_type, [new.real(0, "x")], new.name("real"), **new.kept(*dropped)), 3, 4)
        return True

    return rule


def _softmax(new: Expansion) -> bool:
    """com.microsoft QLinearSoftmax; before operator set 13 it is over all axes from its own on."""
    before = int_attribute(new.node, "opset", 13) < 13
    axis, shape = int_attribute(new.node, "axis", 1 if before else -1), new.graph.shape(new.input(0))
    if before and axis != -1 and (shape is None or axis != len(shape) - 1):
        return False
    return _unary("Softmax", "opset")(new)


def _concat(new: Expansion) -> bool:
    """com.microsoft QLinearConcat: y scale, zero, then x, scale, zero of each part."""
    parts = [new.real(first, f"x{first}") for first in range(2, len(new.node.input), 3)]
    new.quantized(new.add("Concat", parts, new.name("real"), **new.kept()), 0, 1)
    return True


def _where(new: Expansion) -> bool:
    """com.microsoft QLinearWhere: condition, x, scale, zero, y, scale, zero, z scale, zero."""
    inputs = [new.input(0), new.real(1, "x"), new.real(4, "y")]
    new.quantized(new.add("Where", inputs, new.name("real")), 7, 8)
    return True


def _reduce_mean(new: Expansion) -> bool:
    """com.microsoft QLinearReduceMean: x, scale, zero, y scale, zero; axes are an attribute or all."""
    if new.graph.opset >= 18 or not new.input(4):
        return False
    new.quantized(new.add("ReduceMean", [new.real(0, "x")], new.name("real"), **new.kept()), 3, 4)
    return True


def _integer(op_type: str, axis: int) -> Rule:
    """ConvInteger, MatMulInteger: x, w, x zero, w zero. Behind them stand Cast and Mul by the product of the scales."""

    def rule(new: Expansion) -> bool:
        graph = new.graph
        makers = graph.producers()
        maker = makers.get(new.input(0))
        while maker is not None and maker.op_type in _CARRYING:
            maker = makers.get(maker.input[0])
        if maker is not None and maker.op_type != "QuantizeLinear":
            return False
        scale = graph.array(maker.input[1]) if maker is not None else np.ones((), np.float32)
        product = _scaled_by(graph, new.node)
        if scale is None or scale.size != 1 or product is None:
            return False
        multiplication, factor = product
        steps = factor.astype(np.float32) / np.float32(scale.reshape(-1)[0])
        value = steps.reshape(()) if steps.size == 1 else steps.reshape(-1)
        names = [graph.add_constant(new.name(f"{what}_scale"), item) for what, item in (("x", scale), ("w", value))]
        pairs = [[new.input(at), names[at], new.parameter(new.input(2 + at))] for at in range(2)]
        real = [
            new._dequantize([name for name in pair if name], what, side)
            for pair, what, side in zip(pairs, "xw", (None, axis), strict=True)
        ]
        new.add(op_type, real, multiplication.output[0], **new.kept())
        graph.drop([multiplication])
        return True

    return rule


def _scaled_by(graph: Graph, node: NodeProto) -> tuple[NodeProto, np.ndarray] | None:
    """The Mul behind ``node`` and Cast, and the constant (one value, or one a channel) that it multiplies by."""
    readers = graph.consumers()
    name, outputs = node.output[0], graph.output_names
    for op_type in ("Cast", "Mul"):
        found = readers.get(name, [])
        if name in outputs or len(found) != 1 or found[0].op_type != op_type:
            return None
        reader, source, name = found[0], name, found[0].output[0]
    other = next((item for item in reader.input if item != source), "")
    factor = graph.array(other) if other else None
    if factor is None or factor.size != max(factor.shape, default=1):
        return None
    channel = factor.ndim - 1 if node.op_type == "MatMulInteger" else factor.ndim - 3
    spread = factor.size == 1 or (channel >= 0 and factor.shape[channel] == factor.size)
    return (reader, factor) if spread else None


RULES: dict[str, Rule] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool", "channels_last"),
    "QLinearAveragePool": _unary("AveragePool", "channels_last"),
    "QLinearReduceMean": _reduce_mean,
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _softmax,
    "ConvInteger": _integer("Conv", 0),
    "MatMulInteger": _integer("MatMul", 1),
}
"""How each operator is expanded, whatever its domain."""

_CARRYING = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split"})
"""Operators on integers that choose or move values, and so keep their scale. (A padded MaxPool ignores its padding.)"""


def expand_qoperators(graph: Graph) -> None:
    """Replace every operator of RULES that can be, and give integers that are only moved scales of their own."""
    taken = graph.names()
    for node in list(graph.nodes):
        if node.domain == MICROSOFT and node.op_type in _STANDARD:
            node.domain = ""  # the standard's, of the same meaning
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx", MICROSOFT):
            continue
        new = Expansion(graph, node, taken)
        if rule(new):
            _replace(graph, node, new.nodes)
    _carry_scales(graph, taken)
    graph.drop_dead()


def _replace(graph: Graph, node: NodeProto, nodes: list[NodeProto]) -> None:
    place = next(index for index, item in enumerate(graph.nodes) if item is node)
    graph.nodes[place : place + 1] = nodes


def _carry_scales(graph: Graph, taken: set[str]) -> None:
    """Integers -> MaxPool -> integers becomes DequantizeLinear -> MaxPool -> QuantizeLinear, of one scale."""
    scales = {node.output[0]: list(node.input[1:]) for node in graph.nodes if node.op_type == "QuantizeLinear"}
    inputs = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in inputs:
            scales.setdefault(node.input[0], list(node.input[1:]))
    for node in list(graph.nodes):
        known = scales.get(node.input[0]) if node.op_type in _CARRYING and not node.domain else None
        if known is None or len(known) < 2:
            continue
        new = Expansion(graph, node, taken)
        carried = NodeProto()
        carried.CopyFrom(node)
        carried.input[0] = new.add("DequantizeLinear", [node.input[0], *known], new.name("real"), "DequantizeLinear")
        new.nodes.append(carried)
        for index, name in enumerate(node.output):
            if name and not (node.op_type == "MaxPool" and index):
                carried.output[index] = new.name("result")
                new.add("QuantizeLinear", [carried.output[index], *known], name, f"QuantizeLinear_{index}")
                scales[name] = known
        _replace(graph, node, new.nodes)
