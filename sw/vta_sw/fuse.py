"""Fusion: which layers take in what follows them, so that a result need not pass through memory in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .graph import IntGraph, IntLayer, Residual
from .graph.view import GraphView
from .lower.add import AddLowering
from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.errors import NotLowerableError
from .lower.residual import ResidualLowering

Lowering = ConvLowering | AddLowering

FUSED: dict[type, Callable[[Context, IntLayer], ConvLowering]] = {Residual: ResidualLowering}
"""How a convolution with something fused behind it is lowered. Making one raises NotLowerableError."""


def fused_residuals(graph: IntGraph, layers: list[IntLayer]) -> list[tuple[IntLayer, tuple[IntLayer, ...]]]:
    """Convolutions with the add behind them as one layer, and the layers that each could replace.

    Of an add with two candidates the later one comes first.
    """
    view = GraphView(graph.model)
    makers = {layer.output.name: layer for layer in layers if layer.op == "conv" and not layer.is_depthwise}
    found = []
    for add in layers:
        if add.op != "add" or add.requant is None or add.inputs[0].name == add.inputs[1].name:
            continue
        sides = [side for side in range(2) if add.inputs[side].name in makers]
        for side in sorted(sides, key=lambda side: -makers[add.inputs[side].name].nodes[0]):
            conv, shortcut = makers[add.inputs[side].name], add.inputs[1 - side]
            if conv.requant is None or not _only_reader(view, conv.output.name, add.nodes[0]):
                continue
            factors = add.factors[side], add.factors[1 - side]
            residual = Residual(add.name, factors, add.requant, conv.output)
            nodes = (*conv.nodes, *add.nodes)
            layer = replace(
                conv, inputs=(*conv.inputs, shortcut), output=add.output, nodes=nodes, fused=residual
            )
            found.append((layer, (conv, add)))
    return found


def _only_reader(view: GraphView, quantized: str, node: int) -> bool:
    """Whether ``node`` alone reads the integer tensor, behind DequantizeLinear."""
    if quantized in view.outputs:
        return False
    readers = view.consumers.get(quantized, [])
    real = [name for index in readers for name in view.nodes[index].output]
    direct = all(view.nodes[index].op_type == "DequantizeLinear" for index in readers)
    return direct and all(view.single_consumer(name) == node for name in real)


def fuse(
    context: Context, graph: IntGraph, layers: list[IntLayer], lowerings: dict[str, Lowering]
) -> tuple[list[IntLayer], dict[str, str]]:
    """The layers after fusion, and of each node that another layer took in the reason why it is none itself.

    ``lowerings`` of all ``layers`` by name: those of fused ones are replaced, those of absorbed ones taken out.
    """
    chosen: dict[str, IntLayer] = {}
    reasons: dict[str, str] = {}
    for layer, (conv, follower) in fused_residuals(graph, layers):
        if conv.name in chosen or follower.name in reasons:
            continue
        try:
            lowering = FUSED[type(layer.fused)](context, layer)
        except NotLowerableError:
            continue
        if lowering.cost() > lowerings[conv.name].cost() + lowerings[follower.name].cost():
            continue
        chosen[conv.name] = layer
        reasons[follower.name] = f"fused into {conv.name!r}"
        lowerings[conv.name] = lowering
        del lowerings[follower.name]
    return [chosen.get(item.name, item) for item in layers if item.name not in reasons], reasons
