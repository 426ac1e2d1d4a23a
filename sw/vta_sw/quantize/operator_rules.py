"""The annotation rules of operators without weights that change values: pools, constants, joins."""

from __future__ import annotations

from onnx import NodeProto

from ..graph.types import nchw_axes
from .annotate import Decision, View, layer_of, register_annotation


def _unweighted(view: View, node: NodeProto, inputs: tuple[str, ...]) -> Decision:
    """The plan of an operator that reads ``inputs``: integer only where integers make one of them."""
    if not view.integer & set(inputs):
        return "its input is float"
    if len([name for name in node.output if name]) != 1:
        return "it has several results"
    return layer_of(view, node, inputs, weight=None, bias=None)


@register_annotation("AveragePool", "GlobalAveragePool")
def annotate_average(view: View, node: NodeProto) -> Decision:
    """Averages have a scale of their own: they spread less than what they are made of."""
    shape = view.graph.shape(node.input[0])
    if shape is None or len(shape) != 4:
        return "a pool of other than 2 dimensions runs on the CPU"
    return _unweighted(view, node, (node.input[0],))


@register_annotation("LeakyRelu")
def annotate_leaky_relu(view: View, node: NodeProto) -> Decision:
    """LeakyRelu behind an integer operator."""
    return _unweighted(view, node, (node.input[0],))


@register_annotation("Mul", "Div", "Sub")
def annotate_with_constant(view: View, node: NodeProto) -> Decision:
    """An activation and a constant: one value, or one a channel (axis 1; of [N, rows, features] the last one)."""
    constant = next((at for at in (1, 0) if view.is_constant(node.input[at])), None)
    if constant is None:
        return f"{node.op_type} of two activations runs on the CPU"
    source = node.input[1 - constant]
    if node.op_type == "Div" and constant == 0:
        return "dividing a constant runs on the CPU"
    shape, value = view.graph.shape(source), view.graph.array(node.input[constant])
    if shape is None or len(shape) not in (2, 3, 4) or value is None:
        return "the shape of its input is not known"
    aligned = (1,) * max(0, len(shape) - value.ndim) + value.shape
    axis = nchw_axes(len(shape)).index(1)
    if len(aligned) != len(shape) or value.size != aligned[axis] or value.size not in (1, shape[axis]):
        return "its constant is not one value, or one a channel"
    return _unweighted(view, node, (source,))


@register_annotation("Concat")
def annotate_concat(view: View, node: NodeProto) -> Decision:
    """Joining activations on channels; each is brought to the scale of the result."""
    rank = len(view.graph.shape(node.output[0]) or ())
    axes = [item.i for item in node.attribute if item.name == "axis"]
    if rank not in (2, 4) or axes not in ([1], [1 - rank]):
        return "joining other axes than channels runs on the CPU"
    if any(view.is_constant(name) for name in node.input):
        return "one of its inputs is constant"
    return _unweighted(view, node, tuple(node.input))
