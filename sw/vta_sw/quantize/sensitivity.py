"""Which layers cost the accuracy: each one quantized by itself in an otherwise float network, simulated.

An activation belongs to the layer that makes it, and what no layer makes, to the layers that read it.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto
from vta_arch.config import VTAConfig

from .calibrate import Progress
from .flow import Quantization
from .simulate import simulate
from .types import LayerPlan


@dataclass(frozen=True)
class Score:
    """How a network does."""

    percent: float
    """Right answers."""
    snr_db: float
    """Signal to noise of its output, against the float network's. It decides among layers that lose as much."""


Evaluate = Callable[[ModelProto], Score]

WIDE_BITS = 8
"""Layers with fewer bits are proposed to have these; others to stay float."""


@dataclass(frozen=True)
class LayerLoss:
    """A layer's types, and the score of the float network in which it alone is quantized."""

    name: str
    op_type: str
    weight_type: str | None
    activation_type: str
    score: float
    lost: float
    """Points below the float network."""
    snr_db: float
    """Of the network's output, against the float network's."""


@dataclass(frozen=True)
class Step:
    """The network with one more layer left float, and its score."""

    name: str
    score: float


@dataclass
class Sensitivity:
    """Layers, the most costly first, and what leaving some of them float would give."""

    float_score: float
    quantized_score: float
    layers: list[LayerLoss] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """The layers proposed, in the order in which they were taken."""
    enough: bool = False
    """Whether the proposal reaches what was asked for."""


def rank_layers(
    done: Quantization,
    cfg: VTAConfig,
    evaluate: Evaluate,
    *,
    within: float,
    most: int,
    progress: Progress | None = None,
) -> Sensitivity:
    """Rank the layers of a quantized network, then leave the first ones float until it is ``within`` points of float.

    At most ``most`` layers are proposed. Each layer takes one evaluation,
    each step of the proposal another one. Only ``done``'s own scales and weights are used: nothing is fitted again.
    """
    layers = done.annotation.layers
    found = Sensitivity(evaluate(done.prepared).percent, evaluate(with_layers(done, cfg, layers)).percent)
    for index, layer in enumerate(layers):
        score = evaluate(with_layers(done, cfg, [layer]))
        weight = done.kinds.weights.get(layer.name)
        kind = done.kinds.activations[done.annotation.groups[layer.output]]
        weight_type = None if weight is None else str(weight)
        lost = found.float_score - score.percent
        found.layers.append(
            LayerLoss(layer.name, layer.op_type, weight_type, str(kind), score.percent, lost, score.snr_db)
        )
        if progress is not None:
            progress("layers alone", index + 1, len(layers))
    found.layers.sort(key=lambda item: (-item.lost, item.snr_db))
    _propose(found, done, cfg, evaluate, within, most)
    return found


def _propose(
    found: Sensitivity, done: Quantization, cfg: VTAConfig, evaluate: Evaluate, within: float, most: int
) -> None:
    wanted = found.float_score - within
    found.enough = found.quantized_score >= wanted
    for item in found.layers[:most]:
        if found.enough:
            break
        left = {*(step.name for step in found.steps), item.name}
        rest = [layer for layer in done.annotation.layers if layer.name not in left]
        found.steps.append(Step(item.name, evaluate(with_layers(done, cfg, rest)).percent))
        found.enough = found.steps[-1].score >= wanted


def with_layers(done: Quantization, cfg: VTAConfig, layers: Sequence[LayerPlan]) -> ModelProto:
    """The float network in which only ``layers`` are quantized, simulated."""
    weights = {layer.name: done.weights[layer.name] for layer in layers if layer.weight is not None}
    tensors = _tensors(done, layers)
    return simulate(done.prepared, cfg, done.annotation, done.scales, weights, done.kinds, only=tensors)


def _tensors(done: Quantization, layers: Sequence[LayerPlan]) -> Collection[str]:
    """The activations of ``layers``."""
    made = {layer.output for layer in done.annotation.layers}
    linked = {link.output: link.source for link in done.annotation.links}

    def maker(tensor: str) -> str:
        """What a tensor was before operators moved it."""
        while tensor in linked and tensor not in made:
            tensor = linked[tensor]
        return tensor

    outer = {name for layer in layers for name in layer.inputs if maker(name) not in made}
    return {layer.output for layer in layers} | outer


def overrides_toml(found: Sensitivity) -> str:
    """The proposal as a file of overrides: 8 bits for the layers that have fewer, float for the others."""
    by_name = {item.name: item for item in found.layers}
    lines = [
        "# Layers that cost the most accuracy, the costliest first.",
        f"# Float {found.float_score:.2f} %, all layers quantized {found.quantized_score:.2f} %.",
    ]
    for step in found.steps:
        layer = by_name[step.name]
        narrow = [
            f"{key} = {WIDE_BITS}"
            for key, kind in (("weight_bits", layer.weight_type), ("activation_bits", layer.activation_type))
            if kind is not None and int(kind.rpartition("int")[2]) < WIDE_BITS
        ]
        lines += ["", f"# Simulated with this one and those above float: {step.score:.2f} %."]
        lines += [f"[{json.dumps(glob.escape(step.name))}]", *(narrow or ["keep_float = true"])]
    return "\n".join(lines) + "\n"
