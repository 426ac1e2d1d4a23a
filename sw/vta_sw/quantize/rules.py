"""The annotation rules of the operators that the accelerator runs, and of those that keep a scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from ..frontend.graph import attribute, int_attribute
from .annotate import Decision, View, layer_of, register_annotation
from .operator_rules import annotate_with_constant
from .types import LayerPlan, SameScale


def _weights_problem(view: View, node: NodeProto) -> str | None:
    """Why weight and bias of a node cannot become integers, None if they can."""
    weight = view.graph.array(node.input[1])
    if weight is None:
        return "its weights are not constant"
    if weight.dtype != np.float32:
        return f"its weights are {weight.dtype}, not float32"
    if len(node.input) > 2 and node.input[2] and not view.is_constant(node.input[2]):
        return "its bias is not constant"
    if view.is_constant(node.input[0]):
        return "its input is constant"
    return None


def _bias(node: NodeProto) -> str | None:
    return node.input[2] if len(node.input) > 2 and node.input[2] else None


@register_annotation("Conv")
def annotate_conv(view: View, node: NodeProto) -> Decision:
    """2-D convolutions with constant weights, of any number of groups."""
    problem = _weights_problem(view, node)
    if problem is not None:
        return problem
    shape = view.graph.shape(node.input[1]) or ()
    if len(shape) != 4:
        return f"a convolution of {len(shape) - 2} dimensions runs on the CPU"
    return layer_of(view, node, (node.input[0],), weight=node.input[1], bias=_bias(node))


@register_annotation("ConvTranspose")
def annotate_conv_transpose(view: View, node: NodeProto) -> Decision:
    """2-D transposed convolutions, as convolutions. Channels of the same number in their groups share a scale."""
    plan, groups = annotate_conv(view, node), int_attribute(node, "group", 1)
    if not isinstance(plan, LayerPlan):
        return plan
    if groups < 1 or ((view.graph.shape(node.input[1]) or (0,))[0] or 0) % groups:
        return f"its {groups} groups do not divide its channels"
    return replace(plan, transposed=groups)


@register_annotation("Gemm")
def annotate_gemm(view: View, node: NodeProto) -> Decision:
    """Dense layers in canonical form: constant weights [out, in], a bias of [out]."""
    problem = _weights_problem(view, node)
    if problem is not None:
        return problem
    plain = (
        int_attribute(node, "transA", 0) == 0
        and int_attribute(node, "transB", 0) == 1
        and attribute(node, "alpha", 1.0) == 1.0
        and attribute(node, "beta", 1.0) == 1.0
    )
    if not plain:
        return "this form of Gemm runs on the CPU"
    bias, weight = _bias(node), view.graph.shape(node.input[1]) or ()
    if bias is not None and view.graph.shape(bias) != weight[:1]:
        return "its bias is not one value a channel"
    return layer_of(view, node, (node.input[0],), weight=node.input[1], bias=bias)


@register_annotation("MatMul")
def annotate_matmul(view: View, node: NodeProto) -> Decision:
    """Rows of features [N, rows, in] times constant weights [in, out], and the constant vector added behind it."""
    problem = _weights_problem(view, node)
    if problem is not None:
        return problem
    shape, weight = view.graph.shape(node.input[0]), view.graph.shape(node.input[1]) or ()
    if shape is None or len(shape) != 3 or len(weight) != 2:
        return "MatMul of other than [N, rows, in] and [in, out] runs on the CPU"
    adder = _vector_adder(view, node, weight[1])
    bias = None if adder is None else next(name for name in adder.input if name != node.output[0])
    plan = layer_of(view, node, (node.input[0],), weight=node.input[1], bias=bias, adder=adder)
    return replace(plan, transposed=1)


def _vector_adder(view: View, node: NodeProto, features: int | None) -> NodeProto | None:
    """The Add that alone reads a node's result and adds a constant vector of its features."""
    output = node.output[0]
    readers = view.consumers.get(output, [])
    if output in view.outputs or len(readers) != 1 or readers[0].op_type != "Add":
        return None
    other = [name for name in readers[0].input if name != output]
    fits = len(other) == 1 and view.is_constant(other[0]) and view.graph.shape(other[0]) == (features,)
    return readers[0] if fits else None


@register_annotation("Add")
def annotate_add(view: View, node: NodeProto) -> Decision:
    """Residual additions: two activations of one shape, at least one of them made by integers; or a constant added."""
    left, right = node.input
    if view.is_constant(left) or view.is_constant(right):
        return annotate_with_constant(view, node)
    shapes = view.graph.shape(left), view.graph.shape(right)
    if shapes[0] is None or shapes[0] != shapes[1] or len(shapes[0]) not in (2, 3, 4):
        return "its inputs differ in shape"
    if not view.integer & {left, right}:
        return "both inputs are float"
    return layer_of(view, node, (left, right), weight=None, bias=None)


@register_annotation("Relu", "Clip")
def annotate_activation(view: View, node: NodeProto) -> Decision:
    """A Relu or Clip that no layer fuses: integer behind integers; otherwise its result is quantized, not its input."""
    if node.input[0] not in view.integer:
        return "its input is float"
    return annotate_same_scale(view, node)


@register_annotation("MaxPool", "GlobalMaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Transpose")
def annotate_same_scale(view: View, node: NodeProto) -> Decision:
    """Operators that select or move values: one scale on both sides."""
    if view.is_constant(node.input[0]):
        return "its input is constant"
    if any(name and not view.is_constant(name) for name in node.input[1:]):
        return "its parameters are computed"
    if len([name for name in node.output if name]) != 1:
        return "it has several results"
    return SameScale(node.name, node.input[0], node.output[0])


@register_annotation("Pad")
def annotate_pad(view: View, node: NodeProto) -> Decision:
    """Padding with zeros, or with values of the tensor."""
    if attribute(node, "mode", "constant") == "constant" and len(node.input) > 2 and node.input[2]:
        value = view.graph.array(node.input[2])
        if value is None or bool(np.any(value)):
            return "it pads with something else than zero"
    return annotate_same_scale(view, node)


@register_annotation("Resize")
def annotate_resize(view: View, node: NodeProto) -> Decision:
    """Resizing to the nearest value takes values of its input."""
    mode = attribute(node, "mode", "nearest")
    return annotate_same_scale(view, node) if mode == "nearest" else f"resizing with mode {mode} runs on the CPU"
