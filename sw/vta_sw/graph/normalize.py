"""Bring a QDQ network into the form that the patterns expect: shapes known, constants as initializers, activations
of the accelerator's signedness, a QuantizeLinear/DequantizeLinear pair behind every reshape or transpose of an integer
tensor."""

from __future__ import annotations

import onnx
from onnx import helper, shape_inference
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from .digits import add_digits
from .signs import use_own_signs
from .view import MOVES, TYPE_NUMBERS, GraphView, attributes

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LAYER_OPS = (*_WEIGHTED, "Add", "Sub", "Mul", "Div", "Concat", "AveragePool", "GlobalAveragePool")


def normalize(model: onnx.ModelProto, cfg: VTAConfig) -> onnx.ModelProto:
    """A normalized copy of ``model`` for the accelerator ``cfg``. Raises ModelError when it is inconsistent."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _constants_to_initializers(copy)
    try:
        if not _has_shapes(copy):
            copy = shape_inference.infer_shapes(copy, data_prop=True)
        changed = use_own_signs(copy, cfg)
        changed = _requantize_reshapes(copy) or changed
        copy = shape_inference.infer_shapes(copy, data_prop=True) if changed else copy
        return shape_inference.infer_shapes(copy, data_prop=True) if add_digits(copy, cfg) else copy
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        line = (str(error).splitlines() or ["unknown reason"])[0]
        raise ModelError(f"shapes of the model cannot be inferred: {line}") from None


def _has_shapes(model: onnx.ModelProto) -> bool:
    """Whether inference has been here: it is slow on large models."""
    view = GraphView(model)
    return all(name in view.shapes and name in view.types for node in view.nodes for name in node.output if name)


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    kept = []
    for node in model.graph.node:
        tensor = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if tensor is None:
            kept.append(node)
            continue
        item = model.graph.initializer.add()
        item.CopyFrom(tensor)
        item.name = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _requantize_reshapes(model: onnx.ModelProto) -> bool:
    """DQ -> Flatten -> Gemm becomes DQ -> Flatten -> Q -> DQ -> Gemm, with the same scale: exact. True if any did."""
    view = GraphView(model)
    added: dict[int, list[onnx.NodeProto]] = {}
    for index, node in enumerate(view.nodes):
        if node.op_type not in MOVES or not _feeds_layer(view, node):
            continue
        source = _dequantize_above(view, node)
        if source is None:
            continue
        name = node.output[0]
        extras = list(source.input[1:])
        kind = {"output_dtype": TYPE_NUMBERS[view.types[source.input[0]]]} if len(extras) < 2 else {}
        quantized, real = f"{name}/quantized", f"{name}/dequantized"
        pair = [
            helper.make_node("QuantizeLinear", [name, *extras], [quantized], name=f"{name}/quantize", **kind),
            helper.make_node("DequantizeLinear", [quantized, *extras], [real], name=f"{name}/dequantize"),
        ]
        for reader in view.consumers[name]:
            inputs = [real if item == name else item for item in view.nodes[reader].input]
            del view.nodes[reader].input[:]
            view.nodes[reader].input.extend(inputs)
        added[index] = pair
    if not added:
        return False
    nodes = [item for index, node in enumerate(view.nodes) for item in (node, *added.get(index, []))]
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return True


def _feeds_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    readers = view.consumers.get(node.output[0], [])
    return any(view.nodes[reader].op_type in _LAYER_OPS for reader in readers)


def _dequantize_above(view: GraphView, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The per-tensor DequantizeLinear with a zero point that moves alone separate from ``node``."""
    current = node
    while current.op_type in MOVES:
        above = view.producer.get(current.input[0])
        if above is None:
            return None
        current = view.nodes[above]
    if current.op_type != "DequantizeLinear" or attributes(current).get("block_size"):
        return None
    if len(current.input) < 3 and current.input[0] not in view.types:
        return None
    return current if view.shapes.get(current.input[1], (1,)) in ((), (1,)) else None
