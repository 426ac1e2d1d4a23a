"""Networks made by other tools: each layer against onnxruntime on the layer's own inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from vta_arch.config import VTAConfig
from vta_arch.program import CpuStep, Program, Region
from vta_runtime.evaluators import Evaluator, make_subgraph
from vta_runtime.executor import Executor
from vta_runtime.packing import pack_windows
from vta_runtime.reference import run_layer
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import Compilation
from vta_sw.described import tensor_of
from vta_sw.frontend import open_session, run_session
from vta_sw.graph import IntGraph, IntLayer
from vta_sw.graph.view import TYPE_NUMBERS, GraphView

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Networks and data beside the project; tests that need them are skipped where they are not."""
ALLOWED = 1e-4
"""Share of a layer's outputs that may differ from onnxruntime's, by one step."""


@dataclass
class Distance:
    """How far a network is from onnxruntime: of each layer (differing, all) outputs, and the outputs of both."""

    program: Program
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    found: dict[str, np.ndarray] = field(default_factory=dict)
    expected: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of all layers' outputs that differ."""
        return sum(a for a, _ in self.layers.values()) / max(1, sum(b for _, b in self.layers.values()))

    @property
    def on_cpu(self) -> list[str]:
        """Reasons of what stays on the CPU, without what other layers took in."""
        return [f"{name}: {text}" for name, text in self.program.offload.items()]


def compare(
    model: onnx.ModelProto | Path, cfg: VTAConfig, inputs: dict[str, np.ndarray], *, device: bool = True
) -> Distance:
    """Compile ``model``, run it (the device must equal the integer reference) and measure it against onnxruntime."""
    compilation = Compilation(model, cfg)
    program = compilation.run()
    executor = Executor(program, FunctionalDevice(cfg) if device else None)
    found = executor.run(inputs, check=device)
    assert not executor.report.mismatches, executor.report.mismatches_by_layer
    source = onnx.load(model) if isinstance(model, Path) else model
    expected = run_session(open_session(source, exact=True), list(program.outputs), inputs)
    result = Distance(program, found=found, expected=dict(zip(program.outputs, expected, strict=True)))
    layers = {layer.name: _LayerInFloat(compilation.graph, layer) for layer in compilation.layers}
    for values in _values(program, inputs):
        for layer in program.layers:
            wanted = layers[layer.name].run(values)
            distance = np.abs(values[layer.output].astype(np.int64) - wanted.astype(np.int64))
            assert distance.max() <= 1, f"{layer.name}: a step of {distance.max()}"
            before = result.layers.get(layer.name, (0, 0))
            result.layers[layer.name] = before[0] + int(np.count_nonzero(distance)), before[1] + distance.size
    return result


def _values(program: Program, inputs: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Of each batch the values of all tensors, from the integer reference and onnxruntime for the CPU's steps."""
    count = next(iter(inputs.values())).shape[0]
    subgraphs = {
        number: make_subgraph(Evaluator.ONNXRUNTIME, step, program.tensors)
        for number, step in enumerate(program.steps)
        if isinstance(step, CpuStep)
    }
    for first in range(0, count - program.batch + 1, program.batch):
        values: dict[str, np.ndarray] = {}
        for name, value in inputs.items():
            values[name] = value[first : first + program.batch].reshape(program.tensors[name].shape)
        for number, step in enumerate(program.steps):
            if isinstance(step, Region):
                for name in step.layers:
                    layer = program.layer(name)
                    values[layer.output] = run_layer(program, layer, values)
            elif isinstance(step, CpuStep):
                values |= subgraphs[number].run(values)
            else:
                values[step.output] = pack_windows(step, values[step.input], program.tensors[step.output])
        yield values


class _LayerInFloat:
    """The nodes between a layer's inputs and its output, as onnxruntime runs them: in float."""

    def __init__(self, graph: IntGraph, layer: IntLayer) -> None:
        view = GraphView(graph.model)
        self._inputs = {item.name: item for item in layer.inputs}
        needed: set[int] = set()
        waiting = [layer.output.name]
        while waiting:
            name = waiting.pop()
            index = view.producer.get(name)
            if name in self._inputs or index is None or index in needed:
                continue
            needed.add(index)
            waiting += [item for item in view.nodes[index].input if item]
        nodes = [view.nodes[index] for index in sorted(needed)]
        tensors = {item.name: tensor_of(item) for item in (*layer.inputs, layer.output)}
        one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
        for item in tensors.values():
            if item.port != item.name:  # types below 8 bits come and go as float
                arrives = item.name in self._inputs
                ends, kind = ([item.port, "one"], [item.name]), {"output_dtype": TYPE_NUMBERS[item.dtype]}
                made = helper.make_node("QuantizeLinear", *ends, **kind)
                gone = helper.make_node("DequantizeLinear", [item.name, "one"], [item.port])
                nodes = [made, *nodes] if arrives else [*nodes, gone]
        kinds = {t.name: TYPE_NUMBERS[t.dtype] if t.port == t.name else TensorProto.FLOAT for t in tensors.values()}
        *ports, output = (helper.make_tensor_value_info(t.port, kinds[t.name], t.shape) for t in tensors.values())
        used = {name for node in nodes for name in node.input}
        held = [one, *(tensor for tensor in graph.model.graph.initializer if tensor.name in used)]
        body = helper.make_graph(nodes, "layer", ports, [output], held)
        opsets, version = graph.model.opset_import, graph.model.ir_version
        model = helper.make_model(body, opset_imports=opsets, ir_version=version).SerializeToString()
        step = CpuStep(model, tuple(self._inputs), (layer.output.name,), (layer.name,))
        self._subgraph = make_subgraph(Evaluator.ONNXRUNTIME, step, tensors)
        self._output = layer.output.name

    def run(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Its output for the inputs among ``values``."""
        return np.asarray(self._subgraph.run(values)[self._output])
