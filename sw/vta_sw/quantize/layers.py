"""Integer weights of the layers of a plan, one after the other, in the network's order."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from ..frontend.graph import Graph
from ..quantize_choices import Rounding
from .adaround import fit_rounding
from .calibrate import Progress, TensorStats, collect
from .config import QConfig
from .kinds import Kinds
from .simulate import run_as_float, simulate
from .types import Annotation, LayerPlan, WeightQuant
from .unfolding import Windows, sample
from .weights import Accumulator, Rounder, addition_problem, nearest, quantize_weights, stochastic

_POSITIONS = 32768
"""Output positions of a layer that its rounding is fitted on."""
IMAGES = 512
"""Calibration samples, the first ones, that roundings are fitted on."""


@dataclass
class Fitting:
    """What is known while weights become integers. ``model`` is the prepared float network."""

    model: ModelProto
    graph: Graph
    plan: Annotation
    scales: dict[str, float]
    stats: Mapping[str, TensorStats]
    kinds: Kinds
    cfg: VTAConfig
    config: QConfig
    inputs: Mapping[str, NDArray[np.generic]]
    progress: Progress | None


def fit_layers(fitting: Fitting) -> tuple[dict[str, WeightQuant], dict[str, str]]:
    """Integer weights by layer, and why layers that cannot be done exactly have none."""
    plan, kinds = fitting.plan, fitting.kinds
    weights: dict[str, WeightQuant] = {}
    dropped: dict[str, str] = {}
    for index, layer in enumerate(plan.layers):
        groups = [plan.groups[name] for name in (*layer.inputs, layer.output)]
        ends = [fitting.scales[root] for root in groups]
        if layer.weight is None:
            if layer.op_type == "Add" and len(layer.inputs) == 2:
                types = kinds.activations[groups[0]], kinds.activations[groups[1]]
                problem = addition_problem((ends[0], ends[1], ends[2]), types, fitting.cfg)
                if problem is not None:
                    dropped[layer.name] = problem
        else:
            result = _fit(fitting, layer, (ends[0], ends[1]), weights)
            if isinstance(result, str):
                dropped[layer.name] = result
            else:
                weights[layer.name] = result
        if fitting.progress is not None:
            fitting.progress("weights", index + 1, len(plan.layers))
    return weights, dropped


def _fit(
    fitting: Fitting, layer: LayerPlan, ends: tuple[float, float], done: Mapping[str, WeightQuant]
) -> WeightQuant | str:
    weight, bias = floats_of(fitting.graph, layer)
    source = fitting.kinds.activations[fitting.plan.groups[layer.inputs[0]]]
    room = Accumulator.of(fitting.cfg, source, fitting.kinds.weights[layer.name], fitting.config)
    return quantize_weights(weight, bias, ends, room, _rounder(fitting, layer, weight, bias, room.weight_limit, done))


def _rounder(
    fitting: Fitting,
    layer: LayerPlan,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    limit: int,
    done: Mapping[str, WeightQuant],
) -> Rounder:
    config = fitting.config
    how = Rounding(config.overrides.of(layer.name).rounding or config.rounding)
    mean = _mean(fitting.stats[layer.inputs[0]]) if config.bias_correction else None
    seed = zlib.crc32(layer.name.encode()) ^ config.seed
    if how is Rounding.STOCHASTIC:
        return stochastic(weight, limit, mean, seed)
    # 8 bits are fine enough without.
    if how is Rounding.NEAREST or fitting.kinds.weights[layer.name].bits >= 8:
        return nearest(weight, limit, mean)
    windows, bounds = _samples(fitting, layer, weight.shape, done, np.random.default_rng(seed))
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    known = np.zeros(len(flat)) if bias is None else bias.astype(np.float64)

    def rounder(scales: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        return fit_rounding(flat, known, scales, limit, windows, bounds=bounds, steps=config.rounding_steps, rng=rng)

    return rounder


def _samples(
    fitting: Fitting,
    layer: LayerPlan,
    weight_shape: tuple[int, ...],
    done: Mapping[str, WeightQuant],
    rng: np.random.Generator,
) -> tuple[Windows, tuple[float, float]]:
    """The layer's inputs in the network quantized so far, its float outputs behind its activation, and its bounds."""
    plan, graph = fitting.plan, fitting.graph
    node = next(node for node in graph.nodes if node.name == layer.name)
    before = simulate(
        fitting.model,
        fitting.cfg,
        plan,
        fitting.scales,
        done,
        fitting.kinds,
        only=_quantized_before(fitting, layer, done),
    )
    inputs = {name: array[:IMAGES] for name, array in fitting.inputs.items()}
    source = f"{layer.inputs[0]}_sim"
    x = collect(run_as_float(before), source, inputs)
    y = collect(fitting.model, layer.output, inputs)
    return sample(node, weight_shape, x, y, _POSITIONS, rng), _bounds(graph, layer)


def _quantized_before(fitting: Fitting, layer: LayerPlan, done: Mapping[str, WeightQuant]) -> set[str]:
    """Activations that what is quantized so far reads or makes, the layer's own input included."""
    tensors = {layer.inputs[0]}
    for other in fitting.plan.layers:
        if other.name == layer.name:
            break
        if other.weight is None or other.name in done:
            tensors |= {*other.inputs, other.output}
    tensors.discard(layer.output)
    return tensors


def _bounds(graph: Graph, layer: LayerPlan) -> tuple[float, float]:
    """Of the Relu or Clip that is fused."""
    node = next((node for node in graph.nodes if node.name == layer.fused), None)
    if node is None:
        return -np.inf, np.inf
    if node.op_type == "Relu":
        return 0.0, np.inf
    found = [-np.inf, np.inf]
    for at, name in enumerate(node.input[1:3]):
        value = graph.array(name) if name else None
        if value is not None:
            found[at] = float(np.asarray(value, np.float64).reshape(-1)[0])
    return found[0], found[1]


def _mean(stats: TensorStats) -> NDArray[np.float64] | None:
    return None if stats.channel_sum is None else stats.channel_sum / max(stats.channel_count, 1)


def floats_of(graph: Graph, layer: LayerPlan) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Weight and bias of a layer. Raises ModelError for NaN or infinity."""
    values: list[NDArray[np.float32] | None] = []
    for name in (layer.weight, layer.bias):
        value = None if name is None else graph.array(name)
        if value is not None and not np.isfinite(value).all():
            raise ModelError(f"layer {layer.name!r}: constant {name!r} contains NaN or infinity")
        values.append(None if value is None else value.astype(np.float32))
    weight, bias = values
    assert weight is not None
    return weight, bias
