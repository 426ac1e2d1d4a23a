"""Fusion: which layers take in what follows them, so that a result need not pass through memory in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vta_arch.config import VTAConfig
from vta_arch.program import FUSED_INTO

from .cpu_model import CpuProfile
from .graph import IntGraph, IntLayer, NotALayerError, Pool, QTensor, Residual
from .graph.patterns import pool_window
from .graph.qdq import Scope, activation, quantized
from .graph.view import GraphView
from .lower.add import AddLowering
from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.errors import NotLowerableError
from .lower.operators import Lowering, check_types
from .lower.pooled import PooledLowering
from .lower.residual import ResidualLowering
from .stem import packed_cost, packs_input
from .trials import choose_tilings

FUSED: dict[type, Callable[[Context, IntLayer], ConvLowering]] = {
    Residual: ResidualLowering,
    Pool: PooledLowering,
}
"""How a convolution with something fused behind it is lowered. Making one raises NotLowerableError."""


def fused_residuals(graph: IntGraph, layers: list[IntLayer]) -> list[tuple[IntLayer, str]]:
    """Convolutions with the add behind them as one layer, and the add's name; an add may have two."""
    view = GraphView(graph.model)
    makers = _makers(layers)
    found = []
    for add in layers:
        if add.op != "add" or add.requant is None or add.inputs[0].name == add.inputs[1].name:
            continue
        for side in range(2):
            conv, shortcut = makers.get(add.inputs[side].name), add.inputs[1 - side]
            if conv is None or not _only_reader(view, conv.output.name, add.nodes[0]):
                continue
            residual = Residual((add.factors[side], add.factors[1 - side]), add.requant, conv.output)
            layer = _absorbing(conv, add.nodes, add.output, residual)
            found.append((replace(layer, inputs=(*conv.inputs, shortcut)), add.name))
    return found


def fused_pools(cfg: VTAConfig, graph: IntGraph, layers: list[IntLayer]) -> list[tuple[IntLayer, str]]:
    """Convolutions with the MaxPool behind them as one layer, and the pool's name."""
    view, scope = GraphView(graph.model), Scope(cfg, {})
    found = []
    for conv in _makers(layers).values():
        nodes = _following(view, conv.output.name, ("DequantizeLinear", "MaxPool", "QuantizeLinear"))
        if len(nodes) < 3:
            continue
        try:
            kernel, strides, pads = pool_window(view, nodes[1])
            ends = activation(view, view.nodes[nodes[0]].output[0], scope), quantized(view, nodes[2], 0, 0, scope)
        except NotALayerError:
            continue
        output = replace(ends[1], low=conv.output.low, high=conv.output.high)
        kinds = {(item.scale, item.zero, item.dtype) for item in (conv.output, *ends)}
        size = [
            (size + pads[axis] + pads[axis + 2] - kernel[axis]) // strides[axis] + 1
            for axis, size in enumerate(conv.output.nchw[2:])
        ]
        if len(kinds) == 1 and output.nchw == (*conv.output.nchw[:2], *size):
            layer = _absorbing(conv, nodes, output, Pool(kernel, strides, pads, conv.output))
            found.append((layer, view.name_of(nodes[1])))
    return found


def _makers(layers: list[IntLayer]) -> dict[str, IntLayer]:
    """Convolutions that can take in what follows them, by the tensors that they make."""
    return {
        layer.output.name: layer
        for layer in layers
        if layer.op == "conv" and not layer.is_depthwise and layer.requant is not None
    }


def _absorbing(conv: IntLayer, nodes: tuple[int, ...], output: QTensor, fused: Residual | Pool) -> IntLayer:
    return replace(conv, output=output, nodes=(*conv.nodes, *nodes), fused=fused)


def _following(view: GraphView, name: str, kinds: tuple[str, ...]) -> tuple[int, ...]:
    """The nodes behind tensor ``name``, each the only reader of the one before, as long as they are of these kinds."""
    nodes: list[int] = []
    for kind in kinds:
        index = view.single_consumer(name)
        if index is None or view.nodes[index].op_type != kind:
            break
        nodes.append(index)
        name = view.nodes[index].output[0]
    return tuple(nodes)


def _only_reader(view: GraphView, quantized: str, node: int) -> bool:
    """Whether ``node`` alone reads the integer tensor, behind DequantizeLinear."""
    readers = view.consumers.get(quantized, [])
    real = [name for index in readers for name in view.nodes[index].output]
    direct = all(view.nodes[index].op_type == "DequantizeLinear" for index in readers)
    return quantized not in view.outputs and direct and all(view.single_consumer(name) == node for name in real)


def fuse(
    context: Context,
    graph: IntGraph,
    layers: list[IntLayer],
    lowerings: dict[str, Lowering],
    may_fuse: Callable[[str], bool],
    packing: tuple[CpuProfile, str],
) -> tuple[list[IntLayer], dict[str, str]]:
    """The layers after the fusions that gain most, and of each node that was taken in why it is no layer itself.

    ``may_fuse`` says of a node's name whether it may be taken in, or take another one in.
    ``lowerings`` of all ``layers`` by name: those of fused ones are replaced, those of absorbed ones taken out.
    ``packing``: what packs inputs, and what that will be chosen by; layers cost what they cost with it.
    """

    def cost(layer: IntLayer, lowering: Lowering) -> int:
        if isinstance(lowering, ConvLowering) and packs_input(layers, layer, packing[1]):
            return packed_cost(context, layer, lowering, *packing)
        return _cycles(lowering)

    alone = {layer.name: layer for layer in layers}
    gains: list[tuple[float, IntLayer, str, Lowering]] = []
    found = _candidates(context, graph, layers, may_fuse)
    packable = {layer.name for layer in layers if packs_input(layers, layer, packing[1])}
    tiled = [item for name, item in lowerings.items() if name not in packable]
    choose_tilings([*tiled, *(item for layer, _, item in found if layer.name not in packable)], context.processes)
    for layer, absorbed, lowering in found:
        # What is not on the accelerator by itself is fused in any case: its input would have to go to the CPU.
        # Neither is what only fits inside.
        apart = _cycles(lowerings[absorbed]) if absorbed in lowerings else float("inf")
        gain = apart + cost(alone[layer.name], lowerings[layer.name]) - cost(layer, lowering)
        gains.append((gain, layer, absorbed, lowering))
    chosen: dict[str, IntLayer] = {}
    reasons: dict[str, str] = {}
    for gain, layer, absorbed, fused in sorted(gains, key=lambda item: -item[0]):
        if gain < 0 or layer.name in chosen or absorbed in reasons:
            continue
        chosen[layer.name] = layer
        reasons[absorbed] = f"{FUSED_INTO}{layer.name!r}"
        lowerings.pop(absorbed, None)
        lowerings[layer.name] = fused
    return [chosen.get(item.name, item) for item in layers if item.name not in reasons], reasons


def _candidates(
    context: Context, graph: IntGraph, layers: list[IntLayer], may_fuse: Callable[[str], bool]
) -> list[tuple[IntLayer, str, ConvLowering]]:
    """Fused layers, the name of what each has taken in, and how it is lowered."""
    found = []
    for layer, absorbed in (*fused_residuals(graph, layers), *fused_pools(context.cfg, graph, layers)):
        if not (may_fuse(layer.name) and may_fuse(absorbed)):
            continue
        try:
            check_types(context.cfg, layer)
            found.append((layer, absorbed, FUSED[type(layer.fused)](context, layer)))
        except NotLowerableError:
            continue
    return found


def _cycles(lowering: Lowering) -> int:
    assert isinstance(lowering, ConvLowering | AddLowering), "only convolutions, maxima and adds are fused"
    return lowering.cycles()
