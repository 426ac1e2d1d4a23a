"""Which integer type each activation and each weight gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vta_arch.config import VTAConfig

from ..frontend.graph import Graph
from ..quantize_choices import CalibrateMode, PartitionConversions
from .any_scale import FUSING, private_outputs
from .calibrate import TensorStats
from .config import QConfig, Widths
from .types import Annotation, IntType, LayerPlan, has_any_scale

_FULL_BITS = 8
"""A sum with a shortcut keeps as many bits of the convolution's output."""
_ZERO_POINT_BITS = 8
"""Narrower zero points are not written, see :mod:`.realize`."""
_WORTHWHILE = 1.1
"""A zero point makes the steps of a tensor finer by this factor at least."""


@dataclass
class Kinds:
    """Types of a network: of activations by scale group, of weights by layer."""

    activations: dict[str, IntType] = field(default_factory=dict)
    weights: dict[str, IntType] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    """Groups that keep more bits than the scratchpads hold, because they never leave the accumulators."""

    def narrowest(self) -> int:
        """Bits of the narrowest type."""
        return min(kind.bits for kind in (*self.activations.values(), *self.weights.values()))


def choose_kinds(
    graph: Graph, plan: Annotation, stats: Mapping[str, TensorStats], cfg: VTAConfig, config: QConfig
) -> Kinds:
    """The type of every scale group and weight of a plan.

    Activations without negative values are unsigned where the accelerator can; 8-bit ones with negative values get a
    zero point where their range is uneven. The network's input and the first and last layers have ``edge_bits`` where
    those are more. What an addition alone reads of a convolution keeps 8 bits where both can be fused. Overrides
    prevail.
    """
    widths = config.resolve(cfg)
    edges = (
        _edge_layers(graph, plan) if (widths.edge_bits or 0) > min(widths.activation.bits, widths.weight.bits) else {}
    )
    kinds = Kinds()
    for layer in plan.layers:
        if layer.weight is not None:
            bits = max(widths.weight.bits, widths.edge_bits or 0) if layer.name in edges else widths.weight.bits
            kinds.weights[layer.name] = IntType(config.overrides.of(layer.name).weight_bits or bits, True)
    bits_of = dict.fromkeys(plan.roots(), widths.activation.bits)
    for root in _edge_groups(plan, edges):
        bits_of[root] = max(bits_of[root], widths.edge_bits or 0)
    kept: set[str] = set()
    if cfg.extensions >= FUSING and widths.activation.bits < _FULL_BITS:
        kept = _kept_inside(graph, plan, edges)
        bits_of |= dict.fromkeys(kept, _FULL_BITS)
    for layer in plan.layers:
        asked = config.overrides.of(layer.name).activation_bits
        if asked is not None:
            bits_of[plan.groups[layer.output]] = asked
            kept.discard(plan.groups[layer.output])
    makers = {plan.groups[layer.output]: layer.name for layer in plan.layers}
    for root, bits in bits_of.items():
        kind = IntType(bits, _signed(stats[root], widths) or root in kept)
        if root not in kept and _zero_point_allowed(cfg, config, config.mode_of(makers.get(root))):
            kind = replace(kind, zero=_zero_point(stats[root], kind))
        kinds.activations[root] = kind
    kinds.kept = frozenset(kept)
    return kinds


def _zero_point_allowed(cfg: VTAConfig, config: QConfig, mode: CalibrateMode) -> bool:
    """Whether a signed activation calibrated by ``mode`` may have a zero point.

    Powers of two are too coarse to use it; percentiles, divergences and global scales are of magnitudes; and bare
    integers at the network's ends leave no place for it.
    """
    bare = config.partition_conversions is PartitionConversions.FULLY_INTEGRAL
    able = cfg.inp_is_signed and has_any_scale(cfg) and config.resolve(cfg).unsigned
    return able and not bare and mode in (CalibrateMode.MSE, CalibrateMode.MINMAX)


def _zero_point(stats: TensorStats, kind: IntType) -> int:
    """The integer for 0 with which a signed type spans a tensor's range from end to end; 0 where it gains little."""
    if not kind.signed or kind.bits != _ZERO_POINT_BITS or stats.largest == 0.0:
        return 0
    step = (max(stats.high, 0.0) - min(stats.low, 0.0)) / (kind.high - kind.low)
    if stats.largest / kind.high < _WORTHWHILE * step:
        return 0
    return max(kind.low, min(kind.high, round(kind.low - min(stats.low, 0.0) / step)))


def _signed(stats: TensorStats, widths: Widths) -> bool:
    if not widths.activation.signed:
        return False
    return not widths.unsigned or stats.low < 0


def _edge_layers(graph: Graph, plan: Annotation) -> dict[str, LayerPlan]:
    """Layers with weights that no other one precedes, or that none follows."""
    weighted = {layer.name: layer for layer in plan.layers if layer.weight is not None}
    before, after = set(weighted), set(weighted)
    fed: set[str] = set()
    for node in graph.nodes:
        if any(name in fed for name in node.input):
            before.discard(node.name)
        if node.name in weighted or any(name in fed for name in node.input):
            fed |= set(node.output)
    feeding: set[str] = set()
    for node in reversed(graph.nodes):
        if any(name in feeding for name in node.output):
            after.discard(node.name)
        if node.name in weighted or any(name in feeding for name in node.output):
            feeding |= set(node.input)
    return {name: layer for name, layer in weighted.items() if name in before or name in after}


def _edge_groups(plan: Annotation, edges: Mapping[str, LayerPlan]) -> set[str]:
    """Scale groups that only layers at the network's ends read or make, or the CPU.

    What another layer with weights makes or reads must have that layer's bits.
    """
    inner: set[str] = set()
    for layer in plan.layers:
        if layer.name in edges:
            continue
        inner |= {plan.groups[name] for name in layer.inputs}
        if layer.weight is not None:
            inner.add(plan.groups[layer.output])
    touched = {plan.groups[name] for layer in edges.values() for name in (*layer.inputs, layer.output)}
    return touched - inner


def _kept_inside(graph: Graph, plan: Annotation, edges: Mapping[str, LayerPlan]) -> set[str]:
    """Groups that one convolution makes, not at the network's ends, and one addition reads; one of each addition.

    The later convolution of two is the one that the addition can be fused into.
    """
    private = private_outputs(graph, plan)
    at_ends = {plan.groups[layer.output] for layer in edges.values()}
    kept = set()
    for layer in plan.layers:
        if layer.op_type != "Add" or len(layer.inputs) != 2:
            continue
        roots = [plan.groups[name] for name in layer.inputs]
        usable = [root for root in roots if root in private and root not in at_ends]
        if usable:
            kept.add(max(usable, key=lambda root: private[root]))
    return kept
