"""Look-ups in an ONNX graph: producers, consumers, constants, shapes, names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from vta_arch.errors import ModelError

TYPE_NAMES: dict[int, str] = {number: name.lower() for name, number in TensorProto.DataType.items()}
"""ONNX element type number -> name as in vta_arch.program ('float' is 'float32' there)."""
TYPE_NAMES |= {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
TYPE_NUMBERS: dict[str, int] = {name: number for number, name in TYPE_NAMES.items()}

RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity")
"""Operators that move nothing."""
MOVES = (*RESHAPES, "Transpose")
"""Operators that only say otherwise where an element stands."""


class GraphView:
    """Indices into ``model.graph``. Raises ModelError for a graph that uses a name twice."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.producer: dict[str, int] = {}
        self.consumers: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in node.output:
                if name in self.producer:
                    raise ModelError(f"tensor {name!r} is made by two nodes of the model")
                if name:
                    self.producer[name] = index
            for name in read_names(node):
                self.consumers[name].append(index)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in self.initializers]
        self.outputs = [value.name for value in model.graph.output]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, str] = {}
        self._read_types()
        self._values: dict[str, NDArray[Any]] = {}

    def _read_types(self) -> None:
        graph = self.model.graph
        for value in (*graph.input, *graph.output, *graph.value_info):
            tensor = value.type.tensor_type
            if tensor.elem_type:
                self.types[value.name] = TYPE_NAMES[tensor.elem_type]
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                self.shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        for tensor in graph.initializer:
            self.shapes[tensor.name] = tuple(tensor.dims)
            self.types[tensor.name] = TYPE_NAMES[tensor.data_type]

    def constant(self, name: str) -> NDArray[Any] | None:
        """Value of an initializer, None if ``name`` is none."""
        if name not in self._values:
            if name not in self.initializers:
                return None
            value = numpy_helper.to_array(self.initializers[name])
            wide = value.dtype.kind not in "iufb" or value.dtype.itemsize == 0
            self._values[name] = value.astype(np.int64) if wide else value
        return self._values[name]

    def makers_of(self, names: Iterable[str]) -> set[int]:
        """All nodes that tensors depend on."""
        found: set[int] = set()
        waiting = list(names)
        while waiting:
            index = self.producer.get(waiting.pop())
            if index is not None and index not in found:
                found.add(index)
                waiting += read_names(self.nodes[index])
        return found

    def single_consumer(self, name: str) -> int | None:
        """The one node that reads ``name``; None when there are more or it is a network output."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def name_of(self, index: int) -> str:
        """A node's name; a nameless one is its operator and index."""
        node = self.nodes[index]
        return node.name or f"{node.op_type}_{index}"


def read_names(node: onnx.NodeProto) -> set[str]:
    """Tensors that a node reads, those of its subgraphs included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= read_names(inner)
    return names


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
