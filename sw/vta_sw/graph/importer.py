"""Import a QDQ network: recognise layers, and say why other nodes are none."""

from __future__ import annotations

import onnx
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from .normalize import normalize
from .pattern_table import PATTERNS
from .patterns import ACTIVATIONS
from .qdq import NotALayerError, Scope
from .types import IntGraph, IntLayer
from .view import MOVES, GraphView, read_names

_COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def import_graph(model: onnx.ModelProto, cfg: VTAConfig) -> IntGraph:
    """The integer graph of ``model``, with the scales and zero points that ``cfg`` can requantize.

    Raises ModelError for a float network (naming ``vta quantize``) and for an inconsistent one.
    """
    kinds = {node.op_type for node in model.graph.node}
    if kinds & set(_COMPUTING) and not kinds & set(_QUANTIZED):
        raise ModelError("the network is not quantized (it has no QuantizeLinear): run `vta quantize` on it first")
    view = GraphView(normalize(model, cfg))
    layers: list[IntLayer] = []
    reasons: dict[str, str] = {}
    scope = Scope(cfg, {})
    taken: set[str] = set()
    within: set[int] = set()
    needed = view.makers_of(view.outputs)
    for index, node in enumerate(view.nodes):
        pattern = PATTERNS.get(node.op_type)
        if pattern is None or index in within or index not in needed or _belongs_to_maker(view, node):
            continue
        name = view.name_of(index)
        try:
            layer = pattern(view, index, scope)
        except NotALayerError as reason:
            reasons[name] = str(reason)
            continue
        if name in taken:
            raise ModelError(f"two nodes of the network are called {name!r}: give each its own name")
        taken.add(name)
        scope.bounds[layer.output.name] = (layer.low, layer.high)
        layers.append(layer)
        within.update(layer.nodes)
    for index in {index for layer in layers for index in (*layer.before, *layer.nodes[1:])}:
        reasons.pop(view.name_of(index), None)
    running = _needed(view, layers)
    unneeded = {view.name_of(index) for index, node in enumerate(view.nodes) if node.op_type in MOVES} - running
    reasons = {name: reason for name, reason in reasons.items() if name not in unneeded}
    return IntGraph(view.model, tuple(layers), reasons, view.shapes, view.types)


def _needed(view: GraphView, layers: list[IntLayer]) -> set[str]:
    """Names of the nodes that still run when the accelerator runs all layers."""
    made = {index for layer in layers for index in layer.nodes}
    waiting = [*view.outputs, *(item.name for layer in layers for item in layer.inputs)]
    found: set[int] = set()
    while waiting:
        index = view.producer.get(waiting.pop())
        if index is not None and index not in made and index not in found:
            found.add(index)
            waiting += read_names(view.nodes[index])
    return {view.name_of(index) for index in found}


def _belongs_to_maker(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a Relu or Clip stands directly behind another operator, which takes it along or says why not.

    One of the network's own input is the CPU's, as the input is.
    """
    if node.op_type not in ACTIVATIONS:
        return False
    maker = view.producer.get(node.input[0])
    return maker is None or view.nodes[maker].op_type != "DequantizeLinear"
