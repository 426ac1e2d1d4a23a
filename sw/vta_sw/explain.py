"""Why each node of a network runs where it does, and what it costs there and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vta_arch.program import Program, Region

from .compiler import Compilation
from .cpu_model import CpuCosts
from .cycles.program import region_cycles
from .graph import IntLayer
from .graph.view import GraphView
from .lower.tiling import Tiling
from .placement import Crossing, Placement

_ALTERNATIVES = 4
"""Tilings that are shown of a layer."""


@dataclass(frozen=True)
class Alternative:
    """Another way to run a layer on the accelerator, and its cost: cycles, and a little for each instruction."""

    what: str
    cost: int
    chosen: bool


@dataclass(frozen=True)
class NodeReport:
    """A node. ``cycles`` and ``accelerator``: None where the accelerator cannot run it; times are seconds."""

    name: str
    op: str
    where: str
    reason: str
    cycles: int | None
    accelerator: float | None
    cpu: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Nodes in the network's order, tensors that cross between both sides, and totals in cycles and seconds."""

    network: str
    config: str
    clock_mhz: float
    cpu_profile: str
    nodes: tuple[NodeReport, ...]
    crossings: tuple[Crossing, ...]
    launches: int
    instructions: int
    cycles: int
    accelerator_seconds: float
    cpu_seconds: float
    crossing_seconds: float
    all_on_cpu_seconds: float

    @property
    def seconds(self) -> float:
        """Predicted seconds of one pass."""
        return self.accelerator_seconds + self.cpu_seconds + self.crossing_seconds

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"seconds": self.seconds}


def explain(compilation: Compilation) -> Explanation:
    """Run a compilation and say what it decided. Raises what compiling raises."""
    program = compilation.run()
    placement = compilation.placement
    assert placement is not None, "a compilation that is explained has placed its layers"
    return _Explainer(compilation, program, placement).explanation()


class _Explainer:
    def __init__(self, compilation: Compilation, program: Program, placement: Placement) -> None:
        self._compilation, self._program, self._placement = compilation, program, placement
        self._view = GraphView(compilation.graph.model)
        self._costs = CpuCosts(self._view, compilation.cpu)
        runnable = {layer.name: layer for layer in compilation.layers}
        absorbed = {node for layer in runnable.values() for node in layer.nodes}
        others = {layer.name: layer for layer in compilation.graph.layers if layer.nodes[0] not in absorbed}
        self._layers = others | runnable
        self._costed = {node.name: node for node in placement.nodes}

    def explanation(self) -> Explanation:
        """Of the whole network."""
        program, cfg = self._program, self._program.config
        nodes = tuple(self._nodes())
        regions = [step for step in program.steps if isinstance(step, Region)]
        cycles = sum(region_cycles(program, region) for region in regions)
        return Explanation(
            network=program.name,
            config=cfg.name,
            clock_mhz=cfg.clock_mhz,
            cpu_profile=self._compilation.cpu.name,
            nodes=nodes,
            crossings=self._placement.crossings,
            launches=len(regions),
            instructions=sum(region.count for region in regions),
            cycles=cycles,
            accelerator_seconds=cycles / (cfg.clock_mhz * 1e6),
            cpu_seconds=sum(node.cpu for node in nodes if node.where == "CPU"),
            crossing_seconds=sum(item.seconds for item in self._placement.crossings),
            all_on_cpu_seconds=sum(node.cpu for node in nodes),
        )

    def _nodes(self) -> Iterator[NodeReport]:
        """Layers with all their nodes as one, and every other node that is computed at run time."""
        last = {layer.nodes[-1]: layer for layer in self._layers.values()}
        inner = {node for layer in self._layers.values() for node in layer.all_nodes}
        dequantized = {node for layer in self._layers.values() for node in self._placement.dequantizers(layer)}
        for index, node in enumerate(self._view.nodes):
            if index in last:
                yield self._layer(last[index])
            elif index not in inner | dequantized and (seconds := self._costs.node(index)) > 0:
                name = self._view.name_of(index)
                reason = self._program.offload.get(name, f"no layer of the accelerator does {node.op_type}")
                yield NodeReport(name, node.op_type, "CPU", reason, None, None, seconds)

    def _layer(self, layer: IntLayer) -> NodeReport:
        op = self._view.nodes[layer.nodes[0]].op_type
        cost = self._costed.get(layer.name)
        if cost is None:
            reason = self._program.offload[layer.name]
            return NodeReport(layer.name, op, "CPU", reason, None, None, self._placement.cpu_seconds(layer))
        where = "accelerator" if cost.on_accelerator else "CPU"
        alternatives = tuple(self._alternatives(layer.name))
        return NodeReport(layer.name, op, where, cost.reason, cost.cycles, cost.accelerator, cost.cpu, alternatives)

    def _alternatives(self, name: str) -> Iterator[Alternative]:
        """The best tilings that were tried."""
        if name in self._program.choices:
            yield Alternative(f"input: {self._program.choices[name]}", self._costed[name].cycles, True)
        chosen, tried, tuned = self._compilation.tilings(name)
        if chosen is not None and (tuned or not tried):
            what = describe_tiling(chosen)
            yield Alternative(f"{what} (tuned)" if tuned else what, self._costed[name].cycles, True)
        for cost, tiling in tried[:_ALTERNATIVES]:
            yield Alternative(describe_tiling(tiling), cost, tiling == chosen)


def describe_tiling(tiling: Tiling) -> str:
    """A tiling in a few words."""
    edge = f" (edge {tiling.edge})" if tiling.edge != tiling.rows else ""
    first = "weights" if tiling.weights_first else "inputs"
    return (
        f"{tiling.rows}{edge} x {tiling.cols} outputs, {tiling.in_blocks} to {tiling.out_blocks} blocks, {first} stay, "
        f"slots {tiling.inp_slots} + {tiling.wgt_slots}"
    )
