"""From a file to the canonical graph: the steps in their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, helper
from onnx import version_converter as converter
from vta_arch.errors import ModelError

from . import cleanup, fusion
from .affine import integer_activations
from .graph import Graph, copy_model, default_opset, int_attribute
from .load import check_model, infer_shapes, read_model
from .qonnx import DOMAINS, lower_qonnx
from .qoperator import MICROSOFT, expand_qoperators
from .shapes import fix_input_shapes, set_batch

LEAST_OPSET = 17
LEAST_IR = 8
MOST_IR = 13
"""The newest that onnxruntime 1.31 reads; exporters stamp newer ones on files that need nothing of them."""
_ROUNDS = 8
"""Most times that the clean-up is repeated; each round lets shape inference see more."""
_QUANTIZED = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm"}
    | {"ConvInteger", "MatMulInteger"}
)

Shapes = Mapping[str, tuple[int, ...]]


def load_model(path: Path, *, batch: int | None = None, shapes: Shapes | None = None) -> ModelProto:
    """The canonical form of the network in an ONNX file, with inferred shapes.

    Operator set 17 or newer, no Constant nodes, unique node names, BatchNormalization folded, dense layers as Gemm.
    ``batch`` fixes the first dimension of every input, None keeps what the file has; ``shapes`` gives the shape of
    inputs whose other dimensions are dynamic. Quantized networks keep their QuantizeLinear and DequantizeLinear.

    Raises ModelError, in one line, for a file that is not a usable network.
    """
    return prepare(path, batch=batch, shapes=shapes)


def prepare_float(
    source: ModelProto | Path | str, *, batch: int | None, shapes: Shapes | None, least_opset: int
) -> ModelProto:
    """As :func:`load_model`, for the quantizer. Raises ModelError for a network that is quantized already."""
    model = prepare(source, batch=batch, shapes=shapes, least_opset=least_opset, dequantize=True)
    done = next((node for node in model.graph.node if node.op_type in _QUANTIZED), None)
    if done is not None:
        raise ModelError(
            f"the network is quantized already (node {done.name!r} is a {done.op_type}): "
            "compile it as it is, or quantize the float network that it was made from"
        )
    return model


def prepare(
    source: ModelProto | Path | str,
    *,
    batch: int | None = None,
    shapes: Shapes | None = None,
    least_opset: int = LEAST_OPSET,
    dequantize: bool = False,
) -> ModelProto:
    """As :func:`load_model`, from a file or from a model in memory (which is not changed).

    ``dequantize``: compute DequantizeLinear of constants, for networks that only store their weights so.
    """
    if isinstance(source, ModelProto):
        model = copy_model(source)
        check_model(model)
    else:
        model = read_model(Path(source))
    model = _modernise(model, max(least_opset, LEAST_OPSET))
    fix_input_shapes(Graph(model), shapes)
    model = _clean(model, dequantize=dequantize)
    model = set_batch(model, batch)
    model = _clean(model, dequantize=dequantize)
    model = _fuse(model, dequantize=dequantize)
    model = set_batch(model, batch)
    check_model(model)
    _check_channels(Graph(model))
    return model


def _check_channels(graph: Graph) -> None:
    """Shape inference lets a convolution read the wrong number of channels. Raises ModelError."""
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose") or node.domain:
            continue
        shape, weight = graph.shape(node.input[0]), graph.shape(node.input[1])
        group = int_attribute(node, "group", 1)
        if shape is None or weight is None or len(shape) < 3 or shape[1] is None or weight[1] is None:
            continue
        transposed = node.op_type == "ConvTranspose"
        fits = group > 0 and (weight[0] or 0) % group == 0
        if len(shape) != len(weight) or not fits or shape[1] != (weight[0] if transposed else weight[1] * group):
            raise ModelError(
                f"node {node.name!r} ({node.op_type}): an input of {list(shape)} does not fit weights of "
                f"{list(weight)} in {group} groups"
            )


def _modernise(model: ModelProto, opset: int) -> ModelProto:
    """Functions inlined, initializers no longer inputs, the operator set at least ``opset``, one form of operators.

    QONNX operators and those on quantized tensors become standard float operators.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    if default_opset(model) < opset:
        old = default_opset(model)
        try:
            model = converter.convert_version(_declared(model), opset)
        except (converter.ConvertError, RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise ModelError(f"operator set {old} cannot be converted to {opset}: {text}") from None
    graph = Graph(model)
    cleanup.name_nodes(graph)
    cleanup.lift_constants(graph)
    expand_qoperators(graph)
    lower_qonnx(graph)
    result = graph.model(ir_version=min(max(model.ir_version, LEAST_IR), MOST_IR))
    foreign = {*DOMAINS, MICROSOFT} - {node.domain for node in graph.nodes}
    imports = [item for item in result.opset_import if item.domain not in foreign]
    del result.opset_import[:]
    result.opset_import.extend(imports)
    return result


def _declared(model: ModelProto) -> ModelProto:
    """Initializers that older files do not list as inputs, listed: the converter wants them below IR 4."""
    if model.ir_version >= 4:
        return model
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in listed:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return model


def _clean(model: ModelProto, *, dequantize: bool) -> ModelProto:
    """Constants, identities and constant folding until nothing changes."""
    for _ in range(_ROUNDS):
        graph = Graph(infer_shapes(model))
        before = len(graph.nodes), len(graph.constants)
        cleanup.lift_constants(graph)
        cleanup.drop_identities(graph)
        cleanup.fold_constants(graph, dequantize=dequantize)
        graph.drop_dead()
        if (len(graph.nodes), len(graph.constants)) == before:
            return model
        model = graph.model()
    return infer_shapes(model)


def _fuse(model: ModelProto, *, dequantize: bool) -> ModelProto:
    graph = Graph(model)
    fusion.transpose_dequantized(graph)
    if not dequantize:
        integer_activations(graph)
    fusion.explicit_padding(graph)
    fusion.fold_pad(graph)
    fusion.mean_to_pool(graph)
    fusion.split_to_slices(graph)
    fusion.canonical_gemm(graph)
    fusion.fold_bias_add(graph)
    fusion.fold_batch_normalization(graph)
    fusion.fold_bias_add(graph)
    graph.drop_dead()
    return graph.model()
