"""Clean-up that changes no result: names, Constant nodes, Identity and Dropout, constant folding."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .graph import Graph, attribute, int_attribute

_FOLDED_LIMIT = 1 << 26
"""Constants of more elements are not computed."""
_NOT_COMPUTABLE = (ValueError, TypeError, IndexError, RuntimeError, ArithmeticError)
_FOLDABLE_NAMES = """
    Abs Add And Cast Ceil Clip Concat ConstantOfShape Div Equal Exp Expand Flatten Floor Gather Greater GreaterOrEqual
    Less LessOrEqual Log Max Min Mul Neg Not Or Pow Range Reciprocal ReduceProd Relu Reshape Round Shape Sign Size
    Slice Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where
"""
_FOLDABLE = frozenset(_FOLDABLE_NAMES.split())


def name_nodes(graph: Graph) -> None:
    """Give nameless nodes ``OpType_index`` and make repeated names different."""
    taken: set[str] = set()
    given = {node.name for node in graph.nodes}
    for index, node in enumerate(graph.nodes):
        wanted = node.name or f"{node.op_type}_{index}"
        name, count = wanted, 0
        while name in taken or (name != node.name and name in given):
            count += 1
            name = f"{wanted}_{count}"
        node.name = name
        taken.add(name)


def _constant_value(node: NodeProto) -> NDArray[np.generic] | TensorProto | None:
    for item in node.attribute:
        value = helper.get_attribute_value(item)
        if item.name == "value":
            return value
        if item.name in ("value_float", "value_floats"):
            return np.array(value, dtype=np.float32)
        if item.name in ("value_int", "value_ints"):
            return np.array(value, dtype=np.int64)
    return None


def lift_constants(graph: Graph) -> None:
    """Constant nodes become initializers."""
    lifted = []
    for node in graph.nodes:
        value = _constant_value(node) if node.op_type == "Constant" and not node.domain else None
        if value is None or node.output[0] in graph.output_names:
            continue
        if isinstance(value, TensorProto):
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            graph.constants[node.output[0]] = tensor
        else:
            graph.add_constant(node.output[0], value)
        lifted.append(node)
    graph.drop(lifted)


def _is_identity(graph: Graph, node: NodeProto) -> bool:
    if node.domain:
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or (len(node.output) > 1 and node.output[1]):
        return False
    training = graph.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.array(False)
    return training is not None and not bool(training)


def drop_identities(graph: Graph) -> None:
    """Remove Identity, and Dropout that is not training. A network output keeps its name."""
    for node in list(graph.nodes):
        if not _is_identity(graph, node):
            continue
        source, output = node.input[0], node.output[0]
        if output not in graph.output_names:
            graph.replace_uses(output, source)
            graph.drop([node])
            continue
        maker = graph.producers().get(source)
        if maker is None or source in graph.output_names:
            continue
        for index, name in enumerate(maker.output):
            if name == source:
                maker.output[index] = output
        graph.replace_uses(source, output)
        graph.drop([node])


def fold_constants(graph: Graph, *, dequantize: bool = False) -> None:
    """Compute nodes that depend on constants only, QuantizeLinear too, and Shape of tensors whose shape is known.

    ``dequantize`` also computes DequantizeLinear of constants (never in a quantized network).
    """
    foldable = _FOLDABLE | {"QuantizeLinear", "DequantizeLinear" if dequantize else "QuantizeLinear"}
    outputs = set(graph.output_names)
    folded = []
    for node in graph.nodes:
        if node.op_type not in foldable or node.domain not in ("", "ai.onnx") or outputs & set(node.output):
            continue
        values = _shape_value(graph, node) if node.op_type == "Shape" else _evaluate(graph, node)
        if values is None:
            continue
        for name, value in zip(node.output, values, strict=False):
            graph.add_constant(name, value)
        folded.append(node)
    graph.drop(folded)


def _shape_value(graph: Graph, node: NodeProto) -> list[NDArray[np.generic]] | None:
    shape = graph.shape(node.input[0])
    if shape is None:
        return None
    end = attribute(node, "end", None)
    part = shape[int_attribute(node, "start", 0) : end if isinstance(end, int) else None]
    if any(extent is None for extent in part):
        return None
    return [np.array(part, dtype=np.int64)]


def _evaluate(graph: Graph, node: NodeProto) -> list[NDArray[np.generic]] | None:
    names = [name for name in node.input if name]
    if not names or any(name not in graph.constants for name in names):
        return None
    for name in node.output:
        shape = graph.shape(name)
        if shape is None or any(e is None for e in shape) or math.prod(e or 0 for e in shape) > _FOLDED_LIMIT:
            return None
    inputs = {name: graph.constants[name] for name in names}
    declared = [helper.make_tensor_value_info(n, t.data_type, list(t.dims)) for n, t in inputs.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    # The reference evaluator has none of these older than 19; what older files can say means the same there.
    opset = max(graph.opset, 21) if node.op_type in ("QuantizeLinear", "DequantizeLinear") else graph.opset
    model = helper.make_model(
        helper.make_graph([node], "fold", declared, results), opset_imports=[helper.make_opsetid("", opset)]
    )
    feeds = {name: numpy_helper.to_array(tensor) for name, tensor in inputs.items()}
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except _NOT_COMPUTABLE:
        return None  # the node stays, and whoever runs the network says what is wrong with it
