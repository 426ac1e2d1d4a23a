"""A quantized network whose inputs and outputs are the integers themselves."""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto
from vta_arch.errors import ModelError

from ..frontend.graph import Graph
from .realize import rename_output

SCALE_KEY = "vta_scale:"
"""Before a tensor's name: key of its scale in the file's metadata; value = scale * integer."""


def fully_integral(model: ModelProto) -> ModelProto:
    """``model``, which is changed, without the QuantizeLinear behind its inputs and the DequantizeLinear before its
    outputs. Scales of both go into the metadata.

    Raises ModelError for an input or output that is not quantized.
    """
    graph = Graph(model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    scales = {value.name: _bare_input(graph, value, kinds) for value in graph.inputs}
    scales |= {value.name: _bare_output(graph, value, kinds) for value in graph.outputs}
    graph.drop_dead()
    result = graph.model()
    result.metadata_props.extend(model.metadata_props)
    for name, scale in scales.items():
        item = result.metadata_props.add()
        item.key, item.value = SCALE_KEY + name, repr(scale)
    return onnx.shape_inference.infer_shapes(result)


def _bare_input(graph: Graph, value: ValueInfoProto, kinds: dict[str, int]) -> float:
    """Readers of an input's integers read the input; returns its scale."""
    readers = graph.consumers().get(value.name, [])
    if not readers or any(node.op_type != "QuantizeLinear" for node in readers):
        others = ", ".join(repr(node.name) for node in readers if node.op_type != "QuantizeLinear")
        raise ModelError(f"partition_conversions: input {value.name!r} is read as float by {others or 'nobody'}")
    for node in readers:
        value.type.tensor_type.elem_type = kinds[node.output[0]]
        graph.replace_uses(node.output[0], value.name, graph.consumers()[node.output[0]])
        graph.drop([node])
    return _scale(graph, readers[0])


def _bare_output(graph: Graph, value: ValueInfoProto, kinds: dict[str, int]) -> float:
    """An output becomes the integers that were dequantized for it; returns its scale."""
    maker = graph.producers().get(value.name)
    if maker is None or maker.op_type != "DequantizeLinear" or graph.consumers().get(value.name):
        raise ModelError(f"partition_conversions: output {value.name!r} is made by float operators")
    integers = maker.input[0]
    readers = [node for node in graph.consumers()[integers] if node is not maker]
    graph.drop([maker])
    rename_output(graph.producers()[integers], integers, value.name)
    graph.replace_uses(integers, value.name, readers)
    value.type.tensor_type.elem_type = kinds[integers]
    return _scale(graph, maker)


def _scale(graph: Graph, node: NodeProto) -> float:
    scale = graph.array(node.input[1])
    assert scale is not None, "the quantizer's scales are constants"
    return float(scale)
