"""First step: which operators become integer. One rule per operator, each replaceable by the user."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase

from onnx import NodeProto
from vta_arch.errors import ModelError

from ..frontend.graph import Graph
from .config import QConfig
from .types import Annotation, LayerPlan, SameScale


class View:
    """What a rule may look at: the graph, and which tensors are integer so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.consumers = graph.consumers()
        self.producers = graph.producers()
        self.outputs = set(graph.output_names)
        self.integer: set[str] = set()
        """Tensors that an integer operator makes, directly or through same-scale operators."""

    def fused_activation(self, node: NodeProto) -> NodeProto | None:
        """The Relu or Clip that is the only reader of a node's result."""
        output = node.output[0]
        readers = self.consumers.get(output, [])
        if output in self.outputs or len(readers) != 1 or readers[0].op_type not in ("Relu", "Clip"):
            return None
        bounds = readers[0].input[1:]
        constant = all(name == "" or name in self.graph.constants for name in bounds)
        return readers[0] if constant and readers[0].input[0] == output else None

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant of the file."""
        return name in self.graph.constants


Decision = LayerPlan | SameScale | str
"""A rule's answer: an integer layer, a same-scale operator, or the reason to stay float."""
Rule = Callable[[View, NodeProto], Decision]

RULES: dict[str, Rule] = {}
"""Operator type -> its rule."""


def register_annotation(*op_types: str) -> Callable[[Rule], Rule]:
    """Decorator: use this function as the annotation rule of the operators named, replacing the old one.

    The rule gets the :class:`View` and the node and returns a :data:`Decision`.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            RULES[op_type] = rule
        return rule

    return register


@contextmanager
def annotation_rules(rules: Mapping[str, Rule]) -> Iterator[None]:
    """Use other rules inside a ``with`` block only."""
    saved = dict(RULES)
    RULES.update(rules)
    try:
        yield
    finally:
        RULES.clear()
        RULES.update(saved)


def layer_of(
    view: View,
    node: NodeProto,
    inputs: tuple[str, ...],
    *,
    weight: str | None,
    bias: str | None,
    adder: NodeProto | None = None,
) -> LayerPlan:
    """The plan of ``node``, and the ``adder`` of its bias, with the Relu or Clip behind it fused."""
    last = node if adder is None else adder
    fused = view.fused_activation(last)
    return LayerPlan(
        name=node.name,
        op_type=node.op_type,
        inputs=inputs,
        output=last.output[0] if fused is None else fused.output[0],
        weight=weight,
        bias=bias,
        fused=None if fused is None else fused.name,
        adder=None if adder is None else adder.name,
    )


def kept_float(graph: Graph, config: QConfig) -> set[str]:
    """Nodes that stay float as asked. Raises ModelError for a pattern or a number that no node has."""
    kept: set[str] = set()
    for pattern in config.keep_float:
        found = {node.name for node in graph.nodes if fnmatchcase(node.name, pattern)}
        if not found:
            raise ModelError(f"no node of the network is called {pattern!r}, so it cannot be kept float")
        kept |= found
    convolutions = [node.name for node in graph.nodes if node.op_type == "Conv"]
    for number in config.skip_conv_layers:
        if not 0 <= number < len(convolutions):
            raise ModelError(f"skip_conv_layers {number}: the network has convolutions 0 to {len(convolutions) - 1}")
        kept.add(convolutions[number])
    if config.skip_dense_layer:
        kept |= {node.name for node in graph.nodes if node.op_type in ("Gemm", "MatMul")}
    return kept | {node.name for node in graph.nodes if config.overrides.of(node.name).keep_float}


def annotate(graph: Graph, keep_float: Collection[str] = (), enabled: Collection[str] | None = None) -> Annotation:
    """Ask the rule of every node, in execution order; then find which tensors share a scale.

    ``keep_float``: names of nodes that nobody asks; ``enabled``: operator types that may become integer, None: all.
    """
    view, result = View(graph), Annotation()
    links: dict[str, SameScale] = {}
    fused: set[str] = set()
    for node in graph.nodes:
        if node.name in fused:
            continue
        decision = _decide(view, node, keep_float, enabled)
        if isinstance(decision, LayerPlan):
            result.layers.append(decision)
            view.integer.add(decision.output)
            fused |= decision.taken
        elif isinstance(decision, SameScale):
            links[decision.name] = decision
            if decision.source in view.integer:
                view.integer.add(decision.output)
        else:
            result.floats[node.name] = decision
    regroup(graph, result, links)
    return result


def _decide(view: View, node: NodeProto, keep_float: Collection[str], enabled: Collection[str] | None) -> Decision:
    if node.name in keep_float:
        return "kept float as asked"
    rule = None if node.domain else RULES.get(node.op_type)
    if rule is None:
        return f"{node.op_type} runs on the CPU"
    decision = rule(view, node)
    if isinstance(decision, LayerPlan) and enabled is not None and node.op_type not in enabled:
        return f"{node.op_type} is not among the operators to quantize"
    return decision


def regroup(graph: Graph, plan: Annotation, links: Mapping[str, SameScale]) -> None:
    """Fill ``links`` and ``groups`` from the layers: the tensors that are quantized and share scales.

    A tensor is quantized if an integer layer reads or makes it, or if it reaches one through
    operators that keep the scale. Quantizing in front of such an operator is the same as behind it.
    """
    parent: dict[str, str] = {}
    for layer in plan.layers:
        for name in (*layer.inputs, layer.output):
            parent.setdefault(name, name)
    plan.links = []
    for node in reversed(graph.nodes):
        link = links.get(node.name)
        if link is None or link.output not in parent:
            continue
        plan.links.append(link)
        parent.setdefault(link.source, link.source)
        parent[_root(parent, link.output)] = _root(parent, link.source)
    plan.links.reverse()
    plan.groups = {name: _root(parent, name) for name in parent}
    for name, link in links.items():
        if link not in plan.links:
            plan.floats[name] = "nothing integer behind it"


def _root(parent: dict[str, str], name: str) -> str:
    while parent[name] != name:
        name = parent[name]
    return name
