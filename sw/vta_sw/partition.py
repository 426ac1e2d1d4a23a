"""Partition: which layers run on the accelerator, and the ONNX subgraphs of all other nodes.

Nodes are put into phases: even ones on the CPU, odd ones on the accelerator. A node's phase is the least one not
before its inputs', so every phase can run after the one before it, and a phase is one step.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper
from vta_arch.errors import ModelError
from vta_arch.program import INTEGER_TYPES, CpuStep, Tensor

from .graph import IntGraph, IntLayer
from .graph.qdq import type_range
from .graph.view import TYPE_NUMBERS, GraphView, read_names

_HOST_TYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64"}
)
"""Types besides those of activations that a host's arrays have."""


@dataclass(frozen=True)
class Group:
    """One phase: accelerator layers, or nodes of the CPU (by index)."""

    layers: tuple[IntLayer, ...] = ()
    nodes: tuple[int, ...] = ()


class Partition:
    """Groups in the order in which they run, and the CPU subgraphs of ``graph``.

    ``accepted`` are the layers for the accelerator; ``same_layout`` says whether an output's tiles are also input tiles
    (otherwise a layer that reads another's output starts a new region). Raises ModelError for a graph with a cycle.
    """

    def __init__(self, graph: IntGraph, accepted: list[IntLayer], *, same_layout: bool) -> None:
        self.graph = graph
        self.view = GraphView(graph.model)
        self._same_layout = same_layout
        self._layer_at = {layer.nodes[-1]: layer for layer in accepted}
        self._absorbed = {node for layer in accepted for node in layer.nodes}
        self._floating = self._find_floating()
        self._live = self._find_live(accepted)
        self._phase: dict[str, int] = {}
        self._on_accelerator: set[str] = {layer.output.name for layer in accepted}
        self.groups = self._group()

    def _find_floating(self) -> set[int]:
        """DequantizeLinear nodes are cheap: each subgraph has its own, so that integers cross its border."""
        view = self.view
        return {
            index
            for index, node in enumerate(view.nodes)
            if node.op_type == "DequantizeLinear" and node.output[0] not in view.outputs
        }

    def _find_live(self, accepted: list[IntLayer]) -> set[int]:
        """Nodes that the network's outputs or the accelerator's layers depend on: a layer may look through some."""
        made = {layer.output.name for layer in accepted}
        waiting = [*self.view.outputs, *(item.name for layer in accepted for item in layer.inputs)]
        live: set[int] = set()
        while waiting:
            name = waiting.pop()
            index = self.view.producer.get(name)
            if name in made or index is None or index in live:
                continue
            live.add(index)
            waiting += read_names(self.view.nodes[index])
        return live

    def source(self, name: str) -> str:
        """The tensor behind ``name``: dequantized tensors stand for their integers."""
        index = self.view.producer.get(name)
        return self.view.nodes[index].input[0] if index in self._floating and index is not None else name

    def _phase_of(self, names: list[str], index: int) -> int:
        phases = []
        for name in names:
            source = self.source(name)
            if source in self.view.producer and source not in self._phase:
                raise ModelError(
                    f"node {self.view.name_of(index)!r} reads {source!r} before it is made: not sorted, or a cycle"
                )
            phases.append(self._phase.get(source, 0))
        return max(phases, default=0)

    def _layer_phase(self, layer: IntLayer, index: int) -> int:
        phase = self._phase_of([item.name for item in layer.inputs], index)
        if phase % 2 == 0:
            return phase + 1
        direct = any(i.name in self._on_accelerator and self._phase[i.name] == phase for i in layer.inputs)
        return phase + 2 if direct and not self._same_layout else phase

    def _group(self) -> tuple[Group, ...]:
        layers: dict[int, list[IntLayer]] = defaultdict(list)
        nodes: dict[int, list[int]] = defaultdict(list)
        for index, node in enumerate(self.view.nodes):
            layer = self._layer_at.get(index)
            if layer is not None:
                phase = self._layer_phase(layer, index)
                layers[phase].append(layer)
            elif index in self._absorbed or index in self._floating or index not in self._live:
                continue
            else:
                found = self._phase_of(_inputs(self.view, index), index)
                phase = found + found % 2
                nodes[phase].append(index)
            for name in node.output:
                self._phase[name] = phase
        phases = sorted({*layers, *nodes})
        return tuple(Group(tuple(layers[p]), tuple(nodes[p])) for p in phases)

    def _read(self, group: Group) -> set[str]:
        """Tensors that a group needs, behind dequantization."""
        if group.layers:
            return {item.name for layer in group.layers for item in layer.inputs}
        return {self.source(name) for index in group.nodes for name in _inputs(self.view, index)}

    def cpu_step(self, group: Group, tensors: dict[str, Tensor]) -> CpuStep | None:
        """The step of a CPU group, its border added to ``tensors``; None when nobody uses what it makes."""
        view = self.view
        made = [name for index in group.nodes for name in view.nodes[index].output if name]
        wanted = set(view.outputs).union(*(self._read(other) for other in self.groups if other is not group))
        outputs = [name for name in made if name in wanted]
        if not outputs:
            return None
        ours = set(made)
        inputs = sorted(name for name in self._read(group) if name not in ours and name not in view.initializers)
        for name in (*inputs, *outputs):
            tensors.setdefault(name, self.border(name))
        model = _Subgraph(self, group, [tensors[n] for n in inputs], [tensors[n] for n in outputs]).build()
        names = tuple(view.name_of(index) for index in group.nodes)
        return CpuStep(model.SerializeToString(deterministic=True), tuple(inputs), tuple(outputs), names)

    def border(self, name: str) -> Tensor:
        """A tensor at the border of a step. Raises ModelError when its type or shape is unknown or of no use."""
        dtype, shape = self.view.types.get(name), self.view.shapes.get(name)
        if dtype is None or shape is None:
            raise ModelError(
                f"tensor {name!r} has no fixed shape and type; a dynamic shape inside the network cannot be run"
            )
        if dtype not in INTEGER_TYPES and dtype not in _HOST_TYPES:
            raise ModelError(
                f"tensor {name!r} has the type {dtype}, which cannot enter or leave a step of a program: cast it to "
                "float32 or to integers"
            )
        low, high = type_range(dtype) if dtype in INTEGER_TYPES else (0, 0)
        return Tensor(name, shape, dtype, low, high)

    def dequantizer(self, name: str) -> int | None:
        """The floating DequantizeLinear that makes ``name``."""
        index = self.view.producer.get(name)
        return index if index in self._floating else None


def _inputs(view: GraphView, index: int) -> list[str]:
    """Tensors that a node reads, those of its subgraphs included if they come from outside, sorted."""
    known = (view.producer, view.initializers, view.inputs)
    return sorted(name for name in read_names(view.nodes[index]) if any(name in names for names in known))


class _Subgraph:
    """Builds the ONNX model of one CPU group."""

    def __init__(self, partition: Partition, group: Group, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self._partition, self._group = partition, group
        self._inputs, self._outputs = inputs, outputs
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._made: set[int] = set()

    def build(self) -> onnx.ModelProto:
        view = self._partition.view
        ports_in = [self._enter(tensor) for tensor in self._inputs]
        for index in self._group.nodes:
            for name in _inputs(view, index):
                self._need(name)
            self._nodes.append(view.nodes[index])
        ports_out = [self._leave(tensor) for tensor in self._outputs]
        graph = helper.make_graph(self._nodes, "cpu", ports_in, ports_out, list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=view.model.opset_import, ir_version=view.model.ir_version)
        model.functions.extend(view.model.functions)
        return model

    def _need(self, name: str) -> None:
        """Make ``name`` available: an initializer, or a DequantizeLinear of our own."""
        view = self._partition.view
        if name in view.initializers:
            self._initializers[name] = view.initializers[name]
            return
        index = self._partition.dequantizer(name)
        if index is None or index in self._made:
            return
        self._made.add(index)
        for source in view.nodes[index].input:
            self._need(source)
        self._nodes.append(view.nodes[index])

    def _unit(self) -> str:
        """Name of an initializer: scale 1. (No zero points: onnxruntime misreads packed ones.)"""
        scale = "border/scale"
        self._initializers[scale] = helper.make_tensor(scale, TensorProto.FLOAT, [], [1.0])
        return scale

    def _enter(self, tensor: Tensor) -> onnx.ValueInfoProto:
        if tensor.port == tensor.name:
            return helper.make_tensor_value_info(tensor.name, TYPE_NUMBERS[tensor.dtype], tensor.shape)
        self._nodes.append(
            helper.make_node(
                "QuantizeLinear", [tensor.port, self._unit()], [tensor.name], output_dtype=TYPE_NUMBERS[tensor.dtype]
            )
        )
        return helper.make_tensor_value_info(tensor.port, TensorProto.FLOAT, tensor.shape)

    def _leave(self, tensor: Tensor) -> onnx.ValueInfoProto:
        if tensor.port == tensor.name:
            return helper.make_tensor_value_info(tensor.name, TYPE_NUMBERS[tensor.dtype], tensor.shape)
        self._nodes.append(helper.make_node("DequantizeLinear", [tensor.name, self._unit()], [tensor.port]))
        return helper.make_tensor_value_info(tensor.port, TensorProto.FLOAT, tensor.shape)
