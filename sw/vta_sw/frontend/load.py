"""Reading an ONNX file that nobody has checked yet, and writing one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, checker, helper
from vta_arch.errors import DataError, ModelError
from vta_arch.files import write_bytes

from .graph import ints_attribute
from .light import light_copy, take_shapes

FILE_LIMIT = (1 << 31) - 1
"""A protobuf message cannot be larger."""
ELEMENT_LIMIT = 1 << 28
"""Most elements of one tensor (of one sample, if the batch is symbolic): 1 GiB of float32."""
NODE_LIMIT = 20_000
_POSITIVE = ("kernel_shape", "strides", "dilations")


def read_model(path: Path) -> ModelProto:
    """The model in a file, checked. Raises ModelError: not a file, too large, damaged, not ONNX, not legal."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(f"{path}: is not a file")
        if size > FILE_LIMIT:
            raise ModelError(f"{path}: {size} bytes is too large for an ONNX file (limit {FILE_LIMIT})")
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    model = ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError:
        raise ModelError(f"{path}: is not an ONNX file, or is damaged") from None
    try:
        check_model(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return model


def _walk(graph: GraphProto) -> Iterator[tuple[NodeProto | None, TensorProto | None]]:
    """Every node and every stored tensor of a graph, subgraphs included."""
    for tensor in graph.initializer:
        yield None, tensor
    for node in graph.node:
        yield node, None
        for item in node.attribute:
            if item.type == AttributeProto.TENSOR:
                yield None, item.t
            for inner in (item.g, *item.graphs) if item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
                yield from _walk(inner)


def _check_text(model: ModelProto) -> None:
    """Names are UTF-8. Protobuf does not check that, and each would fail where it is first read."""
    try:
        graph = model.graph
        texts: list[str | bytes] = [model.producer_name, graph.name, *(item.domain for item in model.opset_import)]
        texts += [value.name for value in (*graph.input, *graph.output, *graph.value_info)]
        for value in (*graph.input, *graph.output, *graph.value_info):
            texts += [dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for node, tensor in _walk(graph):
            if tensor is not None:
                texts.append(tensor.name)
            if node is not None:
                texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
                texts += [item.name for item in node.attribute]
    except UnicodeDecodeError:
        raise ModelError("is not an ONNX model, or is damaged: it has names that are not UTF-8") from None
    # In a list of names protobuf gives the ones that it cannot decode as bytes.
    if any(isinstance(text, bytes) or "\n" in text for text in texts):
        raise ModelError("is not an ONNX model, or is damaged: it has names that are not a line of UTF-8")


def check_model(model: ModelProto) -> None:
    """Raises ModelError unless the model is a legal, self-contained ONNX model of a reasonable size."""
    if not model.HasField("graph") or not model.graph.node or not model.graph.output:
        raise ModelError("is not an ONNX model: it has no nodes or no outputs")
    _check_text(model)
    if len(model.graph.node) > NODE_LIMIT:
        raise ModelError(f"{len(model.graph.node)} nodes are too many (limit {NODE_LIMIT})")
    for node, tensor in _walk(model.graph):
        if tensor is not None:
            _check_tensor(tensor)
        if node is not None:
            _check_node(node)
    known = {item.domain for item in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - known):
        if domain not in ("", "ai.onnx"):
            model.opset_import.append(helper.make_opsetid(domain, 1))
    # The checker wants a shape on every input and output; here a missing one has its own answer (--shape, inference).
    tensors = [v.type.tensor_type for v in (*model.graph.input, *model.graph.output) if v.type.HasField("tensor_type")]
    bare = [kind for kind in tensors if not kind.HasField("shape")]
    for kind in bare:
        kind.shape.SetInParent()
    try:
        checker.check_model(model)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        raise ModelError(f"is not a legal ONNX model: {' '.join(str(error).split())[:300]}") from None
    finally:
        for kind in bare:
            kind.ClearField("shape")


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"tensor {tensor.name!r} keeps its data in another file: save the model with its weights inside "
            "(onnx.save with save_as_external_data=False)"
        )
    if any(d < 0 for d in tensor.dims) or math.prod(tensor.dims) > ELEMENT_LIMIT:
        raise ModelError(
            f"tensor {tensor.name!r} has the shape {list(tensor.dims)[:8]} (limit {ELEMENT_LIMIT} elements)"
        )


def _check_node(node: NodeProto) -> None:
    for name in _POSITIVE:
        values = ints_attribute(node, name, ())
        if any(not 0 < value < 1 << 20 for value in values):
            raise ModelError(f"node {node.name!r} ({node.op_type}): {name} = {list(values)[:8]} must be positive")
    if any(abs(value) >= 1 << 20 for value in ints_attribute(node, "pads", ())):
        raise ModelError(f"node {node.name!r} ({node.op_type}): pads are absurdly large")
    groups = [item.i for item in node.attribute if item.name == "group"]
    if any(value < 1 for value in groups):
        raise ModelError(f"node {node.name!r} ({node.op_type}): group = {groups[0]} must be positive")


def save_model(model: ModelProto, path: Path) -> None:
    """Write a model; the file appears whole or not at all. Raises DataError if it cannot be written."""
    try:
        raw = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be written: {error}") from None
    write_bytes(path, raw)


def infer_shapes(model: ModelProto) -> ModelProto:
    """The model itself, now with the shapes of its inner tensors. Raises ModelError where they contradict.

    No stored tensor is copied.
    """
    try:
        result = onnx.shape_inference.infer_shapes(light_copy(model), check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError(f"the shapes of the network contradict: {' '.join(str(error).split())[:300]}") from None
    for value in result.graph.value_info:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        if any(d < 0 for d in dims) or math.prod(dims) > ELEMENT_LIMIT:
            raise ModelError(f"tensor {value.name!r} would have the shape {dims[:8]} (limit {ELEMENT_LIMIT} elements)")
    return take_shapes(model, result)
