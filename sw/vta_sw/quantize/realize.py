"""Third step: write the integer network as standard ONNX with QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from vta_arch.config import VTAConfig

from ..frontend.graph import Graph, reads
from ..frontend.light import light_copy, take_shapes
from ..frontend.transposed import input_first
from .kinds import Kinds
from .types import Annotation, IntType, LayerPlan, WeightQuant

_REQUIREMENTS = {8: (8, 17), 4: (10, 21), 2: (13, 25)}
"""Narrowest type in the file -> least IR version and operator set that have it."""


def required_versions(bits: int) -> tuple[int, int]:
    """Least (IR version, operator set) that have integers of ``bits`` bits."""
    return _REQUIREMENTS[bits]


def pack_tensor(name: str, values: NDArray[np.integer], kind: IntType) -> TensorProto:
    """An ONNX tensor of a 2, 4 or 8-bit type; elements are packed from the low bits of a byte."""
    flat = values.astype(np.uint8).reshape(-1) & np.uint8((1 << kind.bits) - 1)
    per_byte = 8 // kind.bits
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, dtype=np.uint8)
    padded[: flat.size] = flat
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(kind.bits)
    raw = np.bitwise_or.reduce(padded.reshape(-1, per_byte) << shifts, axis=1).tobytes()
    tensor = TensorProto(name=name, data_type=kind.onnx_type, raw_data=raw)
    tensor.dims.extend(values.shape)
    return tensor


class QdqWriter:
    """Rewrites a float graph into QDQ form in place. One writer for one graph."""

    def __init__(self, graph: Graph, kinds: Kinds) -> None:
        self.graph, self.kinds = graph, kinds

    def write(self, plan: Annotation, scales: dict[str, float], weights: dict[str, WeightQuant]) -> None:
        """Insert the pairs of every quantized tensor, then the integer weights of every layer."""
        for tensor in sorted(plan.groups):
            root = plan.groups[tensor]
            self._activation_pair(tensor, scales[root], self.kinds.activations[root])
        by_name = {node.name: node for node in self.graph.nodes}
        for layer in plan.layers:
            if layer.weight is not None:
                nodes = by_name[layer.name], by_name[layer.adder or layer.name]
                self._weights(layer, *nodes, scales[plan.groups[layer.inputs[0]]], weights[layer.name])
        self.graph.sort()
        self.graph.drop_dead()

    def _scale(self, name: str, value: NDArray[np.float32]) -> str:
        return self.graph.add_constant(self.graph.fresh(name), value)

    def _zero(self, name: str, shape: tuple[int, ...], kind: IntType) -> list[str]:
        """The zero point, none below 8 bits: onnxruntime 1.31 misreads packed ones and drops the Relu before them."""
        if kind.bits < 8:
            return []
        name = self.graph.fresh(name)
        self.graph.constants[name] = pack_tensor(name, np.full(shape, kind.zero, dtype=np.int64), kind)
        return [name]

    def _activation_pair(self, tensor: str, value: float, integer: IntType) -> None:
        """tensor -> QuantizeLinear -> DequantizeLinear; all readers move behind the pair."""
        graph = self.graph
        float_name = tensor
        readers = [node for node in graph.nodes if tensor in reads(node)]
        if tensor in graph.output_names:
            float_name = graph.fresh(f"{tensor}_float")
            rename_output(graph.producers()[tensor], tensor, float_name)
        back = tensor if float_name != tensor else graph.fresh(f"{tensor}_dq")
        quantized = graph.fresh(f"{tensor}_q")
        graph.replace_uses(tensor, back, readers)
        scale = self._scale(f"{tensor}_scale", np.array(value, dtype=np.float32))
        zero = self._zero(f"{tensor}_zero_point", (), integer)
        kind = {} if zero else {"output_dtype": integer.onnx_type}
        inputs = [float_name, scale, *zero]
        pair = (
            helper.make_node("QuantizeLinear", inputs, [quantized], name=f"{tensor}_QuantizeLinear", **kind),
            helper.make_node("DequantizeLinear", [quantized, scale, *zero], [back], name=f"{tensor}_DequantizeLinear"),
        )
        graph.nodes.extend(pair)

    def _weights(
        self, layer: LayerPlan, node: NodeProto, adder: NodeProto, input_scale: float, quant: WeightQuant
    ) -> None:
        """``adder``: the node that reads the bias, which is ``node`` itself unless that is a MatMul."""
        graph, name, kind = self.graph, layer.name, self.kinds.weights[layer.name]
        scales = quant.scales.astype(np.float32)
        stored = graph.fresh(f"{name}_weight_q")
        # ONNX has one weight scale for the channels of the same number in all groups of a transposed convolution.
        groups = layer.transposed
        values = input_first(quant.values, groups) if groups else quant.values
        own = scales[: len(scales) // groups] if groups else scales
        graph.constants[stored] = pack_tensor(stored, values, kind)
        scale = self._scale(f"{name}_weight_scale", own)
        zero = self._zero(f"{name}_weight_zero_point", own.shape, kind)
        node.input[1] = self._dequantize(f"{name}_weight", [stored, scale, *zero], axis=1 if groups else 0)
        if node.op_type == "MatMul" and adder is node:
            return
        bias = graph.add_constant(graph.fresh(f"{name}_bias_q"), quant.bias.astype(np.int32))
        bias_scale = self._scale(f"{name}_bias_scale", scales * np.float32(input_scale))
        value = self._dequantize(f"{name}_bias", [bias, bias_scale])
        if adder is not node:
            adder.input[list(adder.input).index(layer.bias)] = value
        elif len(node.input) > 2:
            node.input[2] = value
        else:
            node.input.append(value)

    def _dequantize(self, name: str, inputs: list[str], *, axis: int = 0) -> str:
        output = self.graph.fresh(f"{name}_dq")
        node = helper.make_node("DequantizeLinear", inputs, [output], name=f"{name}_DequantizeLinear", axis=axis)
        self.graph.nodes.append(node)
        return output


def realize(
    model: ModelProto,
    cfg: VTAConfig,
    plan: Annotation,
    scales: dict[str, float],
    weights: dict[str, WeightQuant],
    kinds: Kinds,
) -> ModelProto:
    """The QDQ model of a prepared float ``model`` (its operator set must hold the types).

    ``scales``: scale group -> scale; ``weights``: layer name -> its integers.
    """
    graph = Graph(model)
    QdqWriter(graph, kinds).write(plan, scales, weights)
    ir_version, _ = required_versions(kinds.narrowest())
    return finished(graph.model(ir_version=max(ir_version, model.ir_version)), cfg)


def finished(model: ModelProto, cfg: VTAConfig) -> ModelProto:
    """The model itself with its shapes, and the fingerprint of the configuration that it was made for."""
    model.producer_name = "vta-codesign"
    item = model.metadata_props.add()
    item.key, item.value = "vta_fingerprint", cfg.fingerprint_hex
    return take_shapes(model, onnx.shape_inference.infer_shapes(light_copy(model)))


def rename_output(node: NodeProto, old: str, new: str) -> None:
    for index, name in enumerate(node.output):
        if name == old:
            node.output[index] = new
