"""An ONNX graph that can be rewritten: nodes in order, constants, and who makes and reads each tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Shape = tuple[int | None, ...]
"""Static extents; None where an extent is symbolic."""


def attribute(node: NodeProto, name: str, default: object) -> object:
    """The value of a node's attribute, or ``default``; strings come as str."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def int_attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute of ``node``."""
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def ints_attribute(node: NodeProto, name: str, default: Iterable[int]) -> tuple[int, ...]:
    """An attribute of ``node`` that is a list of integers."""
    value = attribute(node, name, None)
    return tuple(int(v) for v in value) if isinstance(value, Iterable) else tuple(default)


def set_attribute(node: NodeProto, name: str, value: object) -> None:
    """Set or replace an attribute; None removes it."""
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def shape_of(info: ValueInfoProto) -> Shape | None:
    """The shape that a value declares, None when it declares no rank."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield item.g
        elif item.type == AttributeProto.GRAPHS:
            yield from item.graphs


def reads(node: NodeProto) -> set[str]:
    """Every tensor that a node may read, those that its subgraphs capture included."""
    return {name for name in node.input if name} | _captures(node)


def _captures(node: NodeProto) -> set[str]:
    """Tensors that a node's subgraphs may read."""
    names: set[str] = set()
    for graph in _subgraphs(node):
        for inner in graph.node:
            names |= reads(inner)
        names |= {value.name for value in graph.output}
    return names


class Graph:
    """A mutable view of a model. ``model()`` gives the ONNX file back.

    ``nodes`` stay in execution order; ``constants`` are the initializers by name.
    """

    def __init__(self, model: ModelProto) -> None:
        self._source = model
        self.opset = default_opset(model)
        """Version of the standard operator set."""
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        self.inputs: list[ValueInfoProto] = [v for v in model.graph.input if v.name not in self.constants]
        self.outputs: list[ValueInfoProto] = list(model.graph.output)
        self.infos: dict[str, ValueInfoProto] = {v.name: v for v in model.graph.value_info}
        self.infos |= {v.name: v for v in (*self.inputs, *self.outputs)}
        self._arrays: dict[str, NDArray[np.generic]] = {}

    # Reading -------------------------------------------------------------------------------
    @property
    def output_names(self) -> list[str]:
        """Names of the network's outputs."""
        return [value.name for value in self.outputs]

    def shape(self, name: str) -> Shape | None:
        """The known shape of a tensor, None if its rank is unknown."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        info = self.infos.get(name)
        return None if info is None else shape_of(info)

    def array(self, name: str) -> NDArray[np.generic] | None:
        """The value of a constant, None if the tensor is not one."""
        if name not in self.constants:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.constants[name])
        return self._arrays[name]

    def producers(self) -> dict[str, NodeProto]:
        """Tensor -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """Tensor -> the nodes that read it (subgraphs included), in order."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in reads(node):
                found.setdefault(name, []).append(node)
        return found

    def names(self) -> set[str]:
        """Every tensor name in use."""
        used = set(self.constants) | set(self.infos)
        for node in self.nodes:
            used |= reads(node) | set(node.output)
        return used

    def has(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        if name in self.constants or name in self.infos:
            return True
        return any(name in node.input or name in node.output or name in _captures(node) for node in self.nodes)

    def fresh(self, wanted: str) -> str:
        """``wanted``, or with a number behind it if it is taken."""
        name, count = wanted, 0
        while self.has(name):
            count += 1
            name = f"{wanted}_{count}"
        return name

    # Writing -------------------------------------------------------------------------------
    def add_constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add (or replace) a constant; returns its name."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        self._arrays.pop(name, None)
        return name

    def replace_uses(self, old: str, new: str, among: Iterable[NodeProto] | None = None) -> None:
        """Make every reader of ``old`` (or only those ``among``) read ``new``."""
        for node in self.nodes if among is None else among:
            _replace_reads(node, old, new)

    def drop(self, unwanted: Iterable[NodeProto]) -> None:
        """Remove nodes."""
        ids = {id(node) for node in unwanted}
        self.nodes = [node for node in self.nodes if id(node) not in ids]

    def drop_dead(self) -> None:
        """Remove nodes and constants that no output depends on."""
        needed = set(self.output_names)
        kept: list[NodeProto] = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= reads(node)
        self.nodes = kept[::-1]
        self.constants = {name: tensor for name, tensor in self.constants.items() if name in needed}

    def sort(self) -> None:
        """Put the nodes in execution order, otherwise keeping the order they have."""
        made_by = self.producers()
        done: set[int] = set()
        order: list[NodeProto] = []
        for root in self.nodes:
            stack = [root]
            while stack:
                node = stack[-1]
                waiting = [made_by[n] for n in sorted(reads(node)) if n in made_by and id(made_by[n]) not in done]
                if id(node) in done:
                    stack.pop()
                elif waiting:
                    stack.extend(waiting)
                else:
                    done.add(id(node))
                    order.append(stack.pop())
        self.nodes = order

    def model(self, *, opset: int | None = None, ir_version: int | None = None) -> ModelProto:
        """The ONNX model, without shapes of inner tensors (infer them again after a rewrite)."""
        source = self._source
        result = ModelProto()
        result.ir_version = ir_version or source.ir_version
        result.producer_name = source.producer_name
        graph = result.graph
        graph.name = source.graph.name or "network"
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.constants.values())
        graph.input.extend(self.inputs)
        graph.output.extend(self.outputs)
        result.functions.extend(source.functions)
        for item in source.opset_import:
            version = opset if opset is not None and item.domain in ("", "ai.onnx") else item.version
            result.opset_import.append(helper.make_opsetid(item.domain, version))
        return result


def _replace_reads(node: NodeProto, old: str, new: str) -> None:
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
    for graph in _subgraphs(node):
        for inner in graph.node:
            _replace_reads(inner, old, new)
        for value in graph.output:
            if value.name == old:
                value.name = new


def default_opset(model: ModelProto) -> int:
    """Version of the standard operator set that a model imports, 0 if none."""
    return max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)


def copy_model(model: ModelProto) -> ModelProto:
    """A deep copy of a model."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result
