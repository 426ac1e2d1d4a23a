"""Activation scales of any value where the accelerator has powers of two only: the weights take the rest.

Convolutions, Relu, additions and pools let a positive factor through. A tensor that is multiplied by c, where the
weights that make it are multiplied and those that read it divided, has c times the scale: with the right c its best
scale is a power of two, and the network computes the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ..frontend.graph import Graph, reads
from ..frontend.load import infer_shapes
from . import power_of_two
from .calibrate import TensorStats
from .kinds import Kinds
from .scales import mean_error
from .types import Annotation, LayerPlan

_FACTORS = np.exp2(np.arange(-8, 8) / 16)
"""What is tried: an octave, in equal ratios."""
_MOVERS = frozenset({"Flatten", "GlobalMaxPool", "MaxPool", "Reshape", "Resize", "Slice", "Squeeze", "Transpose"})
_HOMOGENEOUS = _MOVERS | {"AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Relu", "Unsqueeze"}
"""Operators f with f(c * x) = c * f(x) for c > 0."""
_WITH_VALUES = {"Add": (0, 1), "Clip": (1, 2)}
"""The same, if the constants at these inputs are multiplied, too."""


def fold_scales(
    graph: Graph, plan: Annotation, stats: dict[str, TensorStats], kinds: Kinds, kept: Collection[str]
) -> ModelProto:
    """The network of ``graph`` with tensors multiplied so that powers of two are their best scales.

    ``stats`` of scale groups, and the constants of ``graph``, follow. ``kept``: groups that keep their values, as do
    the network's inputs and outputs and what operators read or make that let no factor through.
    """
    classes = _Classes(graph, plan, kept)
    members = defaultdict(list)
    for root in plan.roots():
        if not classes.is_fixed(root) and stats[root].largest > 0.0:
            members[classes.of(root)].append(root)
    factors = {
        found: float(_FACTORS[np.argmin(sum(_losses(stats[root], kinds, root) for root in roots))])
        for found, roots in members.items()
    }
    tensors = {name: factors[classes.of(name)] for name in classes.known() if classes.of(name) in factors}
    for root in plan.roots():
        stats[root] = stats[root].multiplied(tensors.get(root, 1.0))
    _multiply(graph, _own_constants(graph, plan), tensors)
    return infer_shapes(graph.model())


def _losses(stats: TensorStats, kinds: Kinds, root: str) -> NDArray[np.float64]:
    """Noise to signal of a tensor with the best power of two behind each factor."""
    kind, errors = kinds.activations[root], []
    for factor in _FACTORS:
        scale = power_of_two.search_activation_scale(stats.multiplied(float(factor)), kind)
        errors.append(mean_error(stats, scale / float(factor), kind))
    return np.asarray(errors, np.float64) / stats.mean_square()


def _own_constants(graph: Graph, plan: Annotation) -> dict[str, LayerPlan]:
    """Layers whose weight and bias nobody else reads, by the node's name."""
    readers = graph.consumers()
    return {
        layer.name: layer
        for layer in plan.layers
        if layer.weight is not None and layer.adder is None
        if all(len(readers[name]) == 1 for name in (layer.weight, layer.bias) if name)
    }


class _Classes:
    """Tensors that must have the same factor."""

    _FIXED = ""
    """Stands for those whose factor is 1."""

    def __init__(self, graph: Graph, plan: Annotation, kept: Collection[str]) -> None:
        self._parent = {self._FIXED: self._FIXED}
        weighted = _own_constants(graph, plan)
        for name in (*graph.output_names, *(value.name for value in graph.inputs), *kept):
            self._tie(name, self._FIXED)
        for name, root in plan.groups.items():
            self._tie(name, root)
        for node in graph.nodes:
            if node.name in weighted:
                continue
            tensors = [name for name in (*reads(node), *node.output) if name and name not in graph.constants]
            first = tensors[0] if _lets_through(graph, node) else self._FIXED
            for name in tensors:
                self._tie(name, first)

    def _tie(self, left: str, right: str) -> None:
        left, right = self.of(left), self.of(right)
        if left == self._FIXED:
            left, right = right, left
        self._parent[left] = right

    def of(self, name: str) -> str:
        """The tensor that stands for the class of ``name``."""
        while self._parent.setdefault(name, name) != name:
            name = self._parent[name]
        return name

    def is_fixed(self, name: str) -> bool:
        """Whether the factor is 1."""
        return self.of(name) == self._FIXED

    def known(self) -> list[str]:
        """All tensors."""
        return [name for name in list(self._parent) if name != self._FIXED]


def _lets_through(graph: Graph, node: NodeProto) -> bool:
    if node.domain or not (node.op_type in _HOMOGENEOUS or node.op_type in _WITH_VALUES):
        return False
    constant = [name in graph.constants for name in node.input[1:] if name]
    if node.op_type == "Concat":
        return not any(constant) and node.input[0] not in graph.constants
    return node.op_type == "Add" or all(constant)


def _multiply(graph: Graph, weighted: Mapping[str, LayerPlan], factors: Mapping[str, float]) -> None:
    """Multiply the constants that make and read the tensors."""
    for node in graph.nodes:
        source, result = factors.get(node.input[0], 1.0) if node.input else 1.0, factors.get(node.output[0], 1.0)
        layer = weighted.get(node.name)
        if layer is not None:
            assert layer.weight is not None
            _scale(graph, layer.weight, layer.weight, result / source)
            if layer.bias is not None:
                _scale(graph, layer.bias, layer.bias, result)
        for at in _WITH_VALUES.get(node.op_type, ()):
            if result != 1.0 and at < len(node.input) and node.input[at] in graph.constants:
                wanted = graph.fresh(f"{node.input[at]}_multiplied")
                node.input[at] = _scale(graph, node.input[at], wanted, result)


def _scale(graph: Graph, name: str, wanted: str, factor: float) -> str:
    """The constant ``name`` times a factor, called ``wanted``."""
    value = graph.array(name)
    assert value is not None
    return graph.add_constant(wanted, (value.astype(np.float64) * factor).astype(value.dtype))
