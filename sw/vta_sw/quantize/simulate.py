"""The network in float with quantization simulated: SimQuantize nodes, and weights rounded to their integers.

SimQuantize is a function inside the file, of standard operators, so any runtime runs it:
``clip(round(x / scale), low, high) * scale``, rounded as the accelerator does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
import onnx.inliner
from onnx import FunctionProto, ModelProto, NodeProto, helper
from vta_arch.config import VTAConfig

from ..frontend.graph import Graph, copy_model, reads
from ..frontend.light import light_copy, with_constants
from ..frontend.transposed import input_first
from .kinds import Kinds
from .realize import finished, rename_output
from .types import Annotation, IntType, LayerPlan, WeightQuant, has_any_scale

DOMAIN = "vta"
SIM_QUANTIZE = "SimQuantize"


def sim_quantize(opset: int, *, half_up: bool) -> FunctionProto:
    """The function, in terms of the standard operators of ``opset``. ``half_up``: halves go up, not to even."""
    nodes = [helper.make_node("Div", ["x", "scale"], ["steps"])]
    if half_up:
        nodes += [
            helper.make_node("Constant", [], ["half"], value_float=0.5),
            helper.make_node("Add", ["steps", "half"], ["moved"]),
            helper.make_node("Floor", ["moved"], ["rounded"]),
        ]
    else:
        nodes.append(helper.make_node("Round", ["steps"], ["rounded"]))
    nodes += [
        helper.make_node("Clip", ["rounded", "low", "high"], ["kept"]),
        helper.make_node("Mul", ["kept", "scale"], ["y"]),
    ]
    inputs = ["x", "scale", "low", "high"]
    return helper.make_function(DOMAIN, SIM_QUANTIZE, inputs, ["y"], nodes, [helper.make_opsetid("", opset)])


def simulate(
    model: ModelProto,
    cfg: VTAConfig,
    plan: Annotation,
    scales: Mapping[str, float],
    weights: Mapping[str, WeightQuant],
    kinds: Kinds,
    *,
    only: Collection[str] | None = None,
) -> ModelProto:
    """``model`` with the types of a plan simulated; it is not changed.

    ``weights``: of layers that are quantized; the others keep their float weights. ``only``: tensors whose
    activations are quantized, all by default.
    """
    graph = Graph(copy_model(model))
    for tensor in sorted(plan.groups):
        if only is None or tensor in only:
            root = plan.groups[tensor]
            _insert(graph, tensor, scales[root], kinds.activations[root])
    by_name = {node.name: node for node in graph.nodes}
    for layer in plan.layers:
        quant = weights.get(layer.name)
        if layer.weight is None or quant is None:
            continue
        round_weights(graph, by_name, layer, quant, scales[plan.groups[layer.inputs[0]]])
    graph.sort()
    graph.drop_dead()
    result = graph.model()
    # Passes round halves up, which power-of-two scales make many of.
    result.functions.append(sim_quantize(graph.opset, half_up=not has_any_scale(cfg)))
    result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return finished(result, cfg)


def round_weights(
    graph: Graph, nodes: Mapping[str, NodeProto], layer: LayerPlan, quant: WeightQuant, input_scale: float
) -> None:
    """Give a layer its integer weights and bias, as floats. ``nodes``: those of the graph by name."""
    node, shape = nodes[layer.name], (-1, *(1,) * (quant.values.ndim - 1))
    values = (quant.values * quant.scales.reshape(shape)).astype(np.float32)
    stored = input_first(values, layer.transposed) if layer.transposed else values
    node.input[1] = graph.add_constant(f"{node.name}_weight_sim", stored)
    if not has_bias(layer):
        return
    bias = (quant.bias * quant.scales * input_scale).astype(np.float32)
    name = graph.add_constant(f"{node.name}_bias_sim", bias)
    if layer.adder is None:
        del node.input[2:]
        node.input.append(name)
        return
    adder = nodes[layer.adder]
    at = next(at for at, item in enumerate(adder.input) if item in graph.constants)
    adder.input[at] = name


def has_bias(layer: LayerPlan) -> bool:
    """Whether there is a place for a bias: a MatMul has one where an Add follows."""
    return layer.op_type != "MatMul" or layer.adder is not None


def _insert(graph: Graph, tensor: str, scale: float, kind: IntType) -> None:
    """Everybody who reads ``tensor`` reads its simulated form."""
    readers = [node for node in graph.nodes if tensor in reads(node)]
    source, result = tensor, tensor
    if tensor in graph.output_names:
        source = graph.fresh(f"{tensor}_float")
        rename_output(graph.producers()[tensor], tensor, source)
        graph.replace_uses(tensor, source, [])
    else:
        result = graph.fresh(f"{tensor}_sim")
        graph.replace_uses(tensor, result, readers)
    constants = [
        graph.add_constant(graph.fresh(f"{tensor}_{what}"), np.array(value, np.float32))
        for what, value in (("scale", scale), ("low", kind.low), ("high", kind.high))
    ]
    graph.nodes.append(
        helper.make_node(SIM_QUANTIZE, [source, *constants], [result], name=f"{tensor}_{SIM_QUANTIZE}", domain=DOMAIN)
    )


def run_as_float(model: ModelProto) -> ModelProto:
    """A copy in which functions are part of the graph, so that their nodes can be watched."""
    return with_constants(onnx.inliner.inline_local_functions(light_copy(model)), model)


def simulated_tensors(model: ModelProto) -> dict[str, str]:
    """Tensor of the float network -> what stands for it in a simulated one, as :func:`simulate` wrote it."""
    suffix = f"_{SIM_QUANTIZE}"
    return {n.name.removesuffix(suffix): n.output[0] for n in model.graph.node if n.op_type == SIM_QUANTIZE}
