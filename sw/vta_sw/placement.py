"""Which layers run on the accelerator: the choice with the least predicted time, conversions and launches included.

A node runs on one side or the other; a tensor that crosses sides is converted once. This is a minimum cut: source side
accelerator, sink side CPU, a node's edge to either costs its time on the other, and crossings cost theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import networkx
from vta_arch.errors import ModelError

from .cpu_model import CpuCosts
from .graph import IntGraph, IntLayer
from .graph.view import GraphView, read_names
from .offload import Offload


@dataclass(frozen=True)
class PlacementOptions:
    """What a user wants. Names are those of nodes, or patterns with ``*`` and ``?``."""

    offload: Offload = Offload.ALL
    keep_on_cpu: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    no_fuse: tuple[str, ...] = ()
    """Nodes that stay layers of their own."""

    def may_fuse(self, name: str) -> bool:
        """Whether another layer may take the node in, or it another one: not if it stays on the CPU."""
        return not any(_fits(name, pattern) for pattern in (*self.no_fuse, *self.keep_on_cpu))


EVERYTHING = PlacementOptions()
"""All that can run on the accelerator does."""


@dataclass(frozen=True)
class NodeCost:
    """A layer's seconds on either side; ``reason``: why it runs where it does."""

    name: str
    op: str
    cycles: int
    accelerator: float
    cpu: float
    on_accelerator: bool
    reason: str


@dataclass(frozen=True)
class Crossing:
    """A tensor that is converted between both sides."""

    tensor: str
    to_accelerator: bool
    seconds: float


_SOURCE, _SINK = ("side", "accelerator"), ("side", "cpu")
_NANO = 1e9


class Placement:
    """Decides for ``layers`` of ``graph``, whose cycles are known.

    ``chosen`` names those for the accelerator. ``reasons`` says of other nodes why they cannot run there.
    Raises ModelError for an option that names no layer, or one in two lists.
    """

    def __init__(
        self,
        graph: IntGraph,
        layers: Sequence[IntLayer],
        cycles: Mapping[str, int],
        clock_mhz: float,
        costs: CpuCosts,
        options: PlacementOptions,
        reasons: Mapping[str, str],
    ) -> None:
        self._view = GraphView(graph.model)
        self._layers, self._cycles, self._costs, self._options = layers, cycles, costs, options
        self._hertz = clock_mhz * 1e6
        self._layer_of = {node: layer.name for layer in layers for node in layer.all_nodes}
        self._floating = {
            node.output[0]: node.input[0]
            for node in self._view.nodes
            if node.op_type == "DequantizeLinear" and node.output[0] not in self._view.outputs
        }
        self._kept = _matching(options.keep_on_cpu, layers, reasons, "--keep-on-cpu")
        self._forced = _matching(options.force, layers, {}, "--force", refused=reasons)
        _matching(options.no_fuse, layers, reasons, "--no-fuse")
        both = sorted(self._kept & self._forced)
        if both:
            raise ModelError(f"node {both[0]!r} is in both --keep-on-cpu and --force")
        self._crossing = self._tensors()
        view, needed = self._view, self._view.makers_of(self._view.outputs)
        self._beside = {layer.name: view.makers_of(item.name for item in layer.inputs) - needed for layer in layers}
        self.chosen = self._choose()
        self.nodes = tuple(self._described(layer) for layer in layers)
        self.crossings = tuple(self._crossings(self.chosen))

    # Costs ---------------------------------------------------------------------------------
    def accelerator_seconds(self, layer: IntLayer) -> float:
        """Seconds of a layer on the accelerator, alone, and of what the CPU makes for it (digits of its input)."""
        beside = sum(self._costs.node(index) for index in self._beside[layer.name])
        return self._cycles[layer.name] / self._hertz + beside

    def cpu_seconds(self, layer: IntLayer) -> float:
        """Seconds of a layer's nodes on the CPU, its inputs dequantized."""
        return sum(self._costs.node(index) for index in {*layer.all_nodes, *self.dequantizers(layer)})

    def dequantizers(self, layer: IntLayer) -> set[int]:
        """The nodes before a layer that it needs on the CPU only."""
        inner = {name for node in layer.all_nodes for name in self._view.nodes[node].input}
        return {self._view.producer[name] for name in inner if name in self._floating}

    def seconds(self, chosen: Iterable[str] | None = None) -> float:
        """Predicted seconds of all layers and crossings with ``chosen`` (this choice) on the accelerator."""
        names = self.chosen if chosen is None else set(chosen)
        total = sum(
            self.accelerator_seconds(layer) if layer.name in names else self.cpu_seconds(layer)
            for layer in self._layers
        )
        return total + sum(item.seconds for item in self._crossings(names))

    def _tensors(self) -> dict[str, tuple[str | None, list[str | None]]]:
        """Tensors that could cross: who makes each (a layer; None: the CPU) and who reads it."""
        found: dict[str, tuple[str | None, list[str | None]]] = {}
        for layer in self._layers:
            for item in layer.inputs:
                found.setdefault(item.name, (self._maker(item.name), []))[1].append(layer.name)
            found.setdefault(layer.output.name, (layer.name, []))
            if layer.output.name in self._view.outputs:
                found[layer.output.name][1].append(None)
        for index, node in enumerate(self._view.nodes):
            if index in self._layer_of or (node.output and node.output[0] in self._floating):
                continue
            for name in read_names(node):
                source = self._floating.get(name, name)
                if source in found:
                    found[source][1].append(None)
        return found

    def _maker(self, name: str) -> str | None:
        index = self._view.producer.get(name)
        return None if index is None else self._layer_of.get(index)

    def _crossings(self, chosen: set[str]) -> list[Crossing]:
        found = []
        for name, (maker, readers) in self._crossing.items():
            inside = maker in chosen
            if any((reader in chosen) != inside for reader in readers):
                seconds = self._costs.conversion(name) + (0 if inside else self._costs.profile.launch_seconds)
                found.append(Crossing(name, not inside, seconds))
        return found

    # Choice --------------------------------------------------------------------------------
    def _choose(self) -> set[str]:
        names = {layer.name for layer in self._layers}
        if self._options.offload == Offload.ALL:
            return names - self._kept
        if self._options.offload == Offload.NONE:
            return set(self._forced)
        cut = networkx.minimum_cut(self._network(), _SOURCE, _SINK)[1][0]
        found = {name for kind, name in cut if kind == "layer"}
        # Ties, and what the cut cannot see: fewer crossings are better.
        candidates = [found, set(self._forced), names - self._kept]
        return min(candidates, key=self.seconds)

    def _network(self) -> networkx.DiGraph:
        """The flow network; capacities are whole nanoseconds, edges without one are never cut."""
        net = networkx.DiGraph()
        net.add_nodes_from((_SOURCE, _SINK))
        for layer in self._layers:
            node = ("layer", layer.name)
            on_cpu = {"capacity": round(self.cpu_seconds(layer) * _NANO)}
            on_accelerator = {"capacity": round(self.accelerator_seconds(layer) * _NANO)}
            net.add_edge(_SOURCE, node, **({} if layer.name in self._forced else on_cpu))
            net.add_edge(node, _SINK, **({} if layer.name in self._kept else on_accelerator))
        for name, (maker, readers) in self._crossing.items():
            start = _SINK if maker is None else ("layer", maker)
            ends = [_SINK if reader is None else ("layer", reader) for reader in readers]
            seconds = self._costs.conversion(name)
            if maker is not None:
                net.add_edge(start, ("out", name), capacity=round(seconds * _NANO))
            enter = round((seconds + self._costs.profile.launch_seconds) * _NANO)
            net.add_edge(("in", name), start, capacity=enter)
            for end in ends:
                if maker is not None:
                    net.add_edge(("out", name), end)
                if end != _SINK:
                    net.add_edge(end, ("in", name))
        return net

    def _described(self, layer: IntLayer) -> NodeCost:
        inside = layer.name in self.chosen
        here, there = self.accelerator_seconds(layer), self.cpu_seconds(layer)
        if layer.name in self._kept:
            reason = "kept on the CPU by --keep-on-cpu"
        elif layer.name in self._forced:
            reason = "forced onto the accelerator"
        elif self._options.offload != Offload.AUTO:
            reason = f"--offload {self._options.offload}"
        elif inside:
            reason = f"{there / max(here, 1e-12):.1f} times as fast as on the CPU"
        else:
            reason = f"with its conversions and launch the accelerator would take longer than {there * 1e6:,.0f} us"
        return NodeCost(layer.name, layer.op, self._cycles[layer.name], here, there, inside, reason)


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _matching(
    patterns: Sequence[str],
    layers: Sequence[IntLayer],
    others: Mapping[str, str],
    option: str,
    *,
    refused: Mapping[str, str] | None = None,
) -> set[str]:
    """Names of the layers that the patterns name. Raises ModelError for a pattern without any, or a ``refused`` name.

    ``others`` are names that a pattern may have besides, without an effect.
    """
    found: set[str] = set()
    for pattern in patterns:
        if refused and pattern in refused:
            raise ModelError(f"{option} {pattern!r}: the accelerator cannot run it: {refused[pattern]}")
        names = {layer.name for layer in layers if _fits(layer.name, pattern)}
        if not names and not any(_fits(name, pattern) for name in others):
            known = ", ".join(layer.name for layer in layers[:8]) + (", ..." if len(layers) > 8 else "")
            raise ModelError(f"{option} {pattern!r} names no node that the accelerator can run; those are {known}")
        found |= names
    return found
