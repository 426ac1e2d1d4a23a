"""Integer weights of the layers of a plan, one after the other, in the network's order."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from ..frontend.graph import Graph
from ..frontend.transposed import output_first
from ..quantize_choices import Rounding
from .adaround import fit_rounding
from .calibrate import Progress
from .config import QConfig
from .kinds import Kinds
from .sequential import in_turn
from .simulate import has_bias, round_weights, run_as_float, simulate
from .types import Annotation, LayerPlan, WeightQuant
from .unfolding import Windows, sample
from .walk import Walk
from .weights import Accumulator, Rounded, Rounder, addition_problem, nearest, quantize_weights, stochastic

_POSITIONS = 32768
"""Output positions of a layer that its rounding is fitted on."""
_FINE_BITS = 8
"""So many bits are fitted in turn, which takes seconds and is as good then; fewer step by step."""
_IMAGES, _IMAGES_OF_MEANS = 512, 128
"""Samples at most that rounding looks at, and that the bias does where nothing else does."""
_FITTED = (Rounding.ADAROUND, Rounding.SEQUENTIAL)
_FITTED_BITS = 2
"""With so few bits scales are fitted together with the integers; with more that gained nothing on samples held out."""

Floats = NDArray[np.float32]


@dataclass
class Fitting:
    """What is known while weights become integers. ``model`` is the prepared float network."""

    model: ModelProto
    graph: Graph
    plan: Annotation
    scales: dict[str, float]
    kinds: Kinds
    cfg: VTAConfig
    config: QConfig
    inputs: Mapping[str, NDArray[np.generic]]
    progress: Progress | None


def samples_looked_at(config: QConfig) -> int:
    """Calibration samples, the first ones, that fitting layers takes."""
    fits = any(config.rounding is how or config.overrides.rounds(how) for how in _FITTED)
    return _IMAGES if fits else _IMAGES_OF_MEANS


def fit_layers(fitting: Fitting) -> tuple[dict[str, WeightQuant], dict[str, str]]:
    """Integer weights by layer, and why layers that cannot be done exactly have none."""
    return _Fit(fitting).run()


class _Fit:
    """Layers in turn: each sees the network as it is quantized up to there, beside the float one."""

    def __init__(self, fitting: Fitting) -> None:
        self._of, self._plan = fitting, fitting.plan
        count = samples_looked_at(fitting.config)
        inputs = {name: array[:count] for name, array in fitting.inputs.items()}
        simulated = simulate(fitting.model, fitting.cfg, fitting.plan, fitting.scales, {}, fitting.kinds)
        self._simulated = Graph(run_as_float(simulated))
        self._nodes = {node.name: node for node in self._simulated.nodes}
        self._floats = {node.name: node for node in fitting.graph.nodes}
        self._quantized, self._float = Walk(self._simulated, inputs), Walk(fitting.graph, inputs)

    def run(self) -> tuple[dict[str, WeightQuant], dict[str, str]]:
        """As :func:`fit_layers`."""
        weights: dict[str, WeightQuant] = {}
        dropped: dict[str, str] = {}
        for index, layer in enumerate(self._plan.layers):
            if layer.weight is None:
                problem = self._addition_problem(layer)
                if problem is not None:
                    dropped[layer.name] = problem
            else:
                result = self._fit(layer)
                if isinstance(result, str):
                    dropped[layer.name] = result
                else:
                    weights[layer.name] = self._corrected(layer, result)
            if self._of.progress is not None:
                self._of.progress("weights", index + 1, len(self._plan.layers))
        return weights, dropped

    def _ends(self, layer: LayerPlan) -> list[float]:
        return [self._of.scales[self._plan.groups[name]] for name in (*layer.inputs, layer.output)]

    def _addition_problem(self, layer: LayerPlan) -> str | None:
        if layer.op_type != "Add" or len(layer.inputs) != 2:
            return None
        left, right, output = self._ends(layer)
        kinds = [self._of.kinds.activations[self._plan.groups[name]] for name in layer.inputs]
        return addition_problem((left, right, output), (kinds[0], kinds[1]), self._of.cfg)

    def _fit(self, layer: LayerPlan) -> WeightQuant | str:
        of, (source, *_, output) = self._of, self._ends(layer)
        weight, bias = floats_of(of.graph, layer)
        kind = of.kinds.activations[self._plan.groups[layer.inputs[0]]]
        room = Accumulator.of(of.cfg, kind, of.kinds.weights[layer.name], of.config)
        rounder = self._rounder(layer, weight, bias, room)
        return quantize_weights(weight, bias, (source, output), room, rounder, shared=max(layer.transposed, 1))

    def _rounder(self, layer: LayerPlan, weight: Floats, bias: Floats | None, room: Accumulator) -> Rounder:
        config, limits = self._of.config, room.weight_limits
        how = Rounding(config.overrides.of(layer.name).rounding or config.rounding)
        seed = zlib.crc32(layer.name.encode()) ^ config.seed
        if how is Rounding.STOCHASTIC:
            return stochastic(weight, limits, seed)
        # Of a transposed layer no windows are taken.
        if how is Rounding.NEAREST or layer.transposed:
            return nearest(weight, limits)
        if how is Rounding.SEQUENTIAL or self._of.kinds.weights[layer.name].bits >= _FINE_BITS:
            windows = self._windows(layer, weight, layer.output, None, seed)
            return in_turn(weight.reshape(len(weight), -1).astype(np.float64), limits, windows)
        return self._adaround(layer, weight, bias, room, seed)

    def _windows(self, layer: LayerPlan, weight: Floats, output: str, added: Floats | None, seed: int) -> Windows:
        """The inputs of a layer in the network quantized so far, and the float values of ``output``."""
        node = self._nodes[layer.name]
        x, y = self._quantized.value(node.input[0]), self._float.value(output)
        return sample(node, weight.shape, x, y, _POSITIONS, np.random.default_rng(seed), added=added)

    def _adaround(self, layer: LayerPlan, weight: Floats, bias: Floats | None, room: Accumulator, seed: int) -> Rounder:
        config, (goal, other) = self._of.config, self._goal(layer)
        added = None if other is None else self._quantized.value(other)
        windows = self._windows(layer, weight, goal.output, added, seed)
        flat = weight.reshape(len(weight), -1).astype(np.float64)
        known = np.zeros(len(flat)) if bias is None else bias.astype(np.float64)
        bounds = _bounds(self._of.graph, self._floats, goal)
        free = not room.power_of_two and self._of.kinds.weights[layer.name].bits <= _FITTED_BITS

        def rounder(scales: NDArray[np.float64]) -> Rounded:
            rng, steps, limits = np.random.default_rng(seed), config.rounding_steps, room.weight_limits
            return fit_rounding(flat, known, scales, limits, windows, bounds=bounds, steps=steps, free=free, rng=rng)

        return rounder

    def _goal(self, layer: LayerPlan) -> tuple[LayerPlan, str | None]:
        """The layer whose output is to be as in float when ``layer`` is done, and the tensor added on the way there.

        That is the addition that alone reads it, if its other input is made before: it is as quantized as it gets.
        """
        graph = self._of.graph
        readers = graph.consumers().get(layer.output, [])
        adds = [other for other in self._plan.layers if other.op_type == "Add" and layer.output in other.inputs]
        if len(readers) != 1 or len(adds) != 1 or layer.output in graph.output_names:
            return layer, None
        add = adds[0]
        others = [at for at, name in enumerate(add.inputs) if name != layer.output]
        order = {name: at for at, node in enumerate(graph.nodes) for name in node.output}
        if len(others) != 1 or layer.fused is not None or order.get(add.inputs[others[0]], -1) > order[layer.output]:
            return layer, None
        return add, self._nodes[add.name].input[others[0]]

    def _corrected(self, layer: LayerPlan, quant: WeightQuant) -> WeightQuant:
        """The layer as it is from now on in the simulated network; its bias takes back the mean error if asked for.

        The error is that of all that is quantized so far, for each channel, in front of the activation function.
        """
        scale = self._ends(layer)[0]
        round_weights(self._simulated, self._nodes, layer, quant, scale)
        if not self._of.config.bias_correction or not has_bias(layer):
            return quant
        last = layer.adder or layer.name
        axis = -1 if layer.op_type == "MatMul" else 1
        made = self._nodes[last].output[0]
        error = _means(self._float.value(self._floats[last].output[0]), axis)
        # What the layer makes will change, what it reads will not: from there on the next layers are computed.
        self._quantized.value(self._nodes[layer.name].input[0])
        error -= _means(self._quantized.value(made), axis)
        self._quantized.discard(made)
        moved = np.floor(error / (scale * quant.scales) + 0.5).astype(np.int64)
        corrected = replace(quant, bias=quant.bias + moved)
        round_weights(self._simulated, self._nodes, layer, corrected, scale)
        return corrected


def _means(values: Floats, axis: int) -> NDArray[np.float64]:
    """Of each channel."""
    others = tuple(other for other in range(values.ndim) if other != axis % values.ndim)
    return np.asarray(values.mean(axis=others, dtype=np.float64), np.float64)


def _bounds(graph: Graph, nodes: Mapping[str, NodeProto], layer: LayerPlan) -> tuple[float, float]:
    """Of the Relu or Clip that is fused."""
    if layer.fused is None:
        return -np.inf, np.inf
    node = nodes[layer.fused]
    if node.op_type == "Relu":
        return 0.0, np.inf
    found = [-np.inf, np.inf]
    for at, name in enumerate(node.input[1:3]):
        value = graph.array(name) if name else None
        if value is not None:
            found[at] = float(np.asarray(value, np.float64).reshape(-1)[0])
    return found[0], found[1]


def floats_of(graph: Graph, layer: LayerPlan) -> tuple[Floats, Floats | None]:
    """Weight [out, ...] and bias of a layer. Raises ModelError for NaN or infinity."""
    values: list[Floats | None] = []
    for name in (layer.weight, layer.bias):
        value = None if name is None else graph.array(name)
        if value is not None and not np.isfinite(value).all():
            raise ModelError(f"layer {layer.name!r}: constant {name!r} contains NaN or infinity")
        values.append(None if value is None else value.astype(np.float32))
    weight, bias = values
    assert weight is not None
    return output_first(weight, layer.transposed) if layer.transposed else weight, bias
