"""Inputs wider than the accelerator's, as digits: each stands in channels of its own, its weights times its power.

The CPU makes the digits, beside the network: nobody needs them where the layer stays on the CPU. The input moves so
that its least value has only least digits, and is padded before, because each digit would be padded with another value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from vta_arch.config import VTAConfig

from .padding import explicit_pads
from .qdq import Affine, NotALayerError, Scope, activation, constant, quantized, real_range
from .types import Ints, QTensor
from .view import GraphView, attributes

_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class DigitPlan:
    """``count`` digits of base ``base``, each from ``least`` on; ``moved`` is added to the input's integers before."""

    base: int
    least: int
    count: int
    moved: int


def digit_plan(cfg: VTAConfig, source: QTensor) -> DigitPlan | None:
    """The digits of an activation, None where it needs none or there can be none (1-bit weights know no powers)."""
    fits = source.low >= cfg.inp_min and source.high <= cfg.inp_max
    if fits or cfg.wgt_width == 1 or "requant" not in cfg.extensions:
        return None
    base, count = cfg.inp_max - cfg.inp_min + 1, 1
    while base**count < source.high - source.low + 1:
        count += 1
    least = sum(cfg.inp_min * base**power for power in range(count))
    return DigitPlan(base, cfg.inp_min, count, least - source.low)


def _tensor_name(view: GraphView, index: int) -> str:
    return f"{view.name_of(index)}/digits"


def in_digits(view: GraphView, index: int, scope: Scope, given: Affine, weight: Ints) -> tuple[Affine, Ints, bool]:
    """Input and weight [out, in, ...] of a layer, both in digits where :func:`add_digits` made them, and whether so."""
    name = _tensor_name(view, index)
    if name not in view.producer or digit_plan(scope.cfg, given.source) is None:
        return given, weight, False
    # As the digits were made: without what is known by now of the layers before.
    source = activation(view, view.nodes[index].input[0], Scope(scope.cfg, {}))
    plan = digit_plan(scope.cfg, source)
    assert plan is not None, "what fits in general fits here"
    zero = source.zero + plan.moved
    cfg, shape = scope.cfg, view.shapes[name]
    dtype = "int8" if cfg.inp_is_signed else "uint8"
    tensor = QTensor(name, shape, dtype, source.scale, cfg.inp_min, cfg.inp_max)
    powers = [plan.base**power for power in range(plan.count)]
    wide = np.concatenate([weight * power for power in powers], axis=1)
    offset = given.offset - zero * source.scale
    return replace(given, source=tensor, offset=offset, powers=sum(powers)), wide, True


def add_digits(model: onnx.ModelProto, cfg: VTAConfig) -> bool:
    """Add the digits of inputs that are too wide, of layers whose output is not, in place. True if there are any."""
    view, scope = GraphView(model), Scope(cfg, {})
    added: dict[int, list[NodeProto]] = {}
    for index, node in enumerate(view.nodes):
        channels_second = len(view.shapes.get(node.input[0], ())) in (2, 4)
        if node.op_type not in _OPERATORS or attributes(node).get("group", 1) != 1 or not channels_second:
            continue
        try:
            constant(view, node.input[1])
            source = activation(view, node.input[0], scope)
            output = _output(view, index, scope)
        except NotALayerError:
            continue
        plan = digit_plan(cfg, source)
        if plan is None or output.low < cfg.inp_min or output.high > cfg.inp_max:
            continue
        added[index] = _Digits(model, view, index, cfg).nodes(source, plan)
    if not added:
        return False
    nodes = [item for index, node in enumerate(view.nodes) for item in (*added.get(index, ()), node)]
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return True


def _output(view: GraphView, index: int, scope: Scope) -> QTensor:
    """The integers into which the result of a node is quantized, whatever is between. Raises NotALayerError."""
    while view.nodes[index].op_type != "QuantizeLinear":
        following = view.single_consumer(view.nodes[index].output[0])
        if following is None:
            raise NotALayerError("its result is not quantized")
        index = following
    return quantized(view, index, *real_range(view, view.nodes[index].input[0], scope), scope)


class _Digits:
    """The nodes that make the digits of one layer's input."""

    def __init__(self, model: onnx.ModelProto, view: GraphView, index: int, cfg: VTAConfig) -> None:
        self._model, self._view, self._index, self._cfg = model, view, index, cfg
        self._stem = _tensor_name(view, index)
        self._made: list[NodeProto] = []

    def nodes(self, source: QTensor, plan: DigitPlan) -> list[NodeProto]:
        """Pad, then the integers, then one digit after the other, the least significant first."""
        rest = self._add("Div", [self._padded(), self._number(source.scale)])
        rest = self._add("Add", [self._add("Round", [rest]), self._number(source.zero + plan.moved)])
        base, digits = self._number(plan.base), []
        for _ in range(plan.count - 1):
            higher = self._add("Div", [self._add("Sub", [rest, self._number(plan.least)]), base])
            higher = self._add("Floor", [higher])
            digits.append(self._add("Sub", [rest, self._add("Mul", [higher, base])]))
            rest = higher
        joined = self._add("Concat", [*digits, rest], axis=1)
        kind = np.int8 if self._cfg.inp_is_signed else np.uint8
        zero = self._constant(np.array(0, kind))
        self._made.append(
            helper.make_node("QuantizeLinear", [joined, self._number(1), zero], [self._stem], name=self._stem)
        )
        return self._made

    def _padded(self) -> str:
        """The layer's real input with its padding around it."""
        node = self._view.nodes[self._index]
        shape = self._view.shapes.get(node.input[0], ())
        real: str = node.input[0]
        if node.op_type != "Conv" or len(shape) != 4:
            return real
        kernel = self._view.shapes[node.input[1]]
        top, left, bottom, right = explicit_pads(self._view, self._index, (kernel[2], kernel[3]), shape[2], shape[3])
        if not any((top, left, bottom, right)):
            return real
        pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        return self._add("Pad", [real, self._constant(pads)])

    def _add(self, op_type: str, inputs: list[str], **attributes: int) -> str:
        name = f"{self._stem}/{len(self._made)}"
        self._made.append(helper.make_node(op_type, inputs, [name], name=f"{name}_{op_type}", **attributes))
        return name

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, value: np.ndarray) -> str:
        name: str = f"{self._stem}/c{len(self._model.graph.initializer)}"
        self._model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name
