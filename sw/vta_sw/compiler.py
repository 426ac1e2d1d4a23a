"""Compile a quantized network to a program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError
from vta_arch.isa import Memory
from vta_arch.program import ALONE, INSTRUCTIONS, Layer, Program, Region, Step, Tensor

from .cpu_model import CpuCosts, CpuProfile, profile_of
from .described import reference_data, tensor_of
from .frontend import Graph, prepare, read_model
from .frontend.shapes import file_batch
from .fuse import fuse as fuse_layers
from .graph import IntGraph, IntLayer, import_graph
from .graph.view import GraphView
from .lifetimes import find_lifetimes
from .link import Code, link, same_layout
from .lower.add import AddLowering
from .lower.choice import TilingChoice
from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.errors import NotLowerableError
from .lower.operators import Lowering, check_types, lower
from .lower.requantize import drop_dead_channels
from .lower.stream import StreamBuilder
from .lower.tiling import Tiling
from .lower.timeline import slice_cycles
from .partition import Group, Partition
from .placement import EVERYTHING, Placement, PlacementOptions
from .refine import refine
from .stem import Choice, check_mode, pack_inputs

Progress = Callable[[str, int, int], None]


def compile(
    model: Path | str | onnx.ModelProto,
    cfg: VTAConfig,
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    packing: str = "time",
    progress: Progress | None = None,
    placement: PlacementOptions = EVERYTHING,
    cpu: CpuProfile | None = None,
    choice: TilingChoice | None = None,
    fuse: bool = True,
    processes: int = 1,
) -> Program:
    """Compile a QDQ network for ``cfg``.

    Args:
        model: a file, or a model in memory.
        batch: images of one pass where the model leaves it open; the configuration's by default.
        shapes: shapes of inputs by name, where the model leaves them open.
        packing: what the packing of a convolution's input is chosen by: ``time`` of accelerator and CPU, ``cycles`` of
            the accelerator alone, or ``none`` to pack nothing.
        progress: called with a text, the steps done and the steps in all.
        placement: which layers go to the accelerator: all that can, unless it says something else.
        cpu: the host, for a choice by predicted time; the processor of the configuration's board by default.
        choice: what chooses among legal tilings: the cycle model, unless it knows better from tuning.
        fuse: whether a convolution may take in the add behind it, where that is faster.
        processes: how many choose tilings; more of them are copies of this process (by fork), and find the same.

    Raises ModelError for a model that is damaged, not quantized, or has dynamic dimensions, and for a placement that
    names no layer.
    """
    check_mode(packing)
    found = Compilation(
        model,
        cfg,
        batch=batch,
        shapes=shapes,
        packing=packing,
        progress=progress,
        placement=placement,
        cpu=cpu,
        choice=choice,
        fuse=fuse,
        processes=processes,
    )
    return found.run()


def _imported(
    model: Path | str | onnx.ModelProto,
    cfg: VTAConfig,
    batch: int | None,
    shapes: Mapping[str, tuple[int, ...]] | None,
) -> tuple[IntGraph, str]:
    """The integer graph of a model, and the network's name."""
    name = Path(model).stem if isinstance(model, str | Path) else model.graph.name or "network"
    source = model if isinstance(model, onnx.ModelProto) else read_model(Path(model))
    if batch is None and file_batch(Graph(source)) is None:
        batch = cfg.batch
    return import_graph(prepare(source, batch=batch, shapes=shapes), cfg), name


def _quiet(_text: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def _lowered(layer: IntLayer, packed: Mapping[str, Choice]) -> IntLayer:
    """The layer as it is lowered: on its packed input, if it has one."""
    return packed[layer.name].packing.layer if layer.name in packed else layer


class Compilation:
    """The compilation of one network; arguments are those of :func:`compile`.

    After :meth:`run`, ``placement`` says what was decided by predicted time; None where nothing had to be.
    """

    def __init__(
        self,
        model: Path | str | onnx.ModelProto,
        cfg: VTAConfig,
        *,
        batch: int | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        packing: str = "time",
        progress: Progress | None = None,
        placement: PlacementOptions = EVERYTHING,
        cpu: CpuProfile | None = None,
        choice: TilingChoice | None = None,
        fuse: bool = True,
        predict: bool = False,
        processes: int = 1,
    ) -> None:
        """``predict``: find out what every layer would take, also where nothing depends on it."""
        self.graph, self._name = _imported(model, cfg, batch, shapes)
        self._cfg, self._graph, self._progress = cfg, self.graph, progress or _quiet
        self._options, self.cpu, self._packing = placement, cpu or profile_of(cfg.board), packing
        self._always_place, self._fuse = predict, fuse
        self.placement: Placement | None = None
        self.layers: list[IntLayer] = []
        """Layers that the accelerator can run, fused ones as one."""
        graph = self.graph
        self._context = Context(cfg, choice, processes)
        self._reasons = dict(graph.reasons)
        self._lowerings: dict[str, Lowering] = {}
        self._code = {INSTRUCTIONS: Code(), ALONE: Code()}
        self._tensors: dict[str, Tensor] = {}
        self._uses: dict[str, set[Memory]] = defaultdict(set)
        self._layers: list[Layer] = []
        self._arrays: dict[str, NDArray[np.integer]] = {}

    def tile(self) -> list[IntLayer]:
        """Choose the tilings of all layers that the accelerator can run, on packed inputs too; the layers."""
        accepted = self._accept()
        pack_inputs(self._context, self._graph, accepted, self._lowerings, self._packing, self.cpu)
        for lowering in self._lowerings.values():
            if isinstance(lowering, ConvLowering):
                _ = lowering.tiling
        return accepted

    def run(self) -> Program:
        """The program of the network."""
        accepted = self._accept()
        packed = pack_inputs(self._context, self._graph, accepted, self._lowerings, self._packing, self.cpu)
        accepted = self._place(accepted)
        partition = Partition(self._graph, accepted, same_layout=same_layout(self._cfg))
        steps: list[Step] = []
        total = len(partition.groups)
        for number, group in enumerate(partition.groups):
            self._progress("lower", number, total)
            steps += self._pack_steps(group, packed)
            lowered = Group(tuple(_lowered(layer, packed) for layer in group.layers))
            step = self._region(lowered) if lowered.layers else partition.cpu_step(group, self._tensors)
            if step is not None:
                steps.append(step)
        inputs, outputs = tuple(partition.view.inputs), tuple(partition.view.outputs)
        for item in (*inputs, *outputs):
            self._tensors.setdefault(item, partition.border(item))
        lifetimes = find_lifetimes(steps, self._layers, inputs, outputs)
        linked = link(self._context, self._code, self._tensors, dict(self._uses), lifetimes)
        self._progress("lower", total, total)
        return Program(
            config=self._cfg,
            batch=self._batch(inputs),
            tensors=linked.tensors,
            layers=tuple(self._layers),
            steps=tuple(steps),
            inputs=inputs,
            outputs=outputs,
            segments=linked.segments,
            arrays=self._arrays,
            arena_size=linked.arena_size,
            name=self._name,
            offload=self._reasons,
            choices={layer.name: packed[layer.name].text for layer in accepted if layer.name in packed},
        )

    def _accept(self) -> list[IntLayer]:
        """Layers that this configuration can run; the others get a reason."""
        accepted = []
        inside: dict[str, str] = {}  # layers that only run as a part of another one, and why
        for number, layer in enumerate(self._graph.layers):
            self._progress("tile", number, len(self._graph.layers))
            try:
                inside |= self._too_wide(layer)
                layer = drop_dead_channels(self._cfg, layer)
                if layer.op == "conv" or layer.name not in inside:
                    self._lowerings[layer.name] = lower(self._context, layer)
            except NotLowerableError as reason:
                self._reasons[layer.name] = str(reason)
                inside.pop(layer.name, None)
                continue
            accepted.append(layer)
        if self._fuse:
            packing = self.cpu, self._packing
            accepted, fused = fuse_layers(
                self._context, self._graph, accepted, self._lowerings, self._options.may_fuse, packing
            )
            self._reasons |= fused
        left = {layer.name for layer in accepted if layer.name in inside and layer.fused is None}
        for name in left:
            self._reasons[name] = inside[name]
            self._lowerings.pop(name, None)
        return [layer for layer in accepted if layer.name not in left]

    def _too_wide(self, layer: IntLayer) -> dict[str, str]:
        """The layer's name and the reason, if its values only fit as long as they stay in the accumulators.

        Raises NotLowerableError where they do not fit at all.
        """
        check_types(self._cfg, layer, inside=True)
        try:
            check_types(self._cfg, layer)
        except NotLowerableError as reason:
            return {layer.name: str(reason)}
        return {}

    def lowering(self, name: str) -> Lowering:
        """How a layer that the accelerator can run is lowered."""
        return self._lowerings[name]

    def tilings(self, name: str) -> tuple[Tiling | None, tuple[tuple[int, Tiling], ...], bool]:
        """The tiling of a layer, those that were tried with their costs, best first, and whether tuning chose it.

        Layers that are not tiled by trial have none.
        """
        lowering = self._lowerings[name]
        if not isinstance(lowering, ConvLowering):
            return None, (), False
        key, choice = lowering.key(), self._context.choice
        return lowering.tiling, choice.trials.get(key, ()), key in choice.from_tuning

    def _place(self, accepted: list[IntLayer]) -> list[IntLayer]:
        """Those of the layers that the options leave on the accelerator; the others get a reason."""
        self.layers = accepted
        if self._options == EVERYTHING and not self._always_place:
            return accepted
        self.placement = self.decide(accepted)
        self._reasons |= {node.name: node.reason for node in self.placement.nodes if not node.on_accelerator}
        return [layer for layer in accepted if layer.name in self.placement.chosen]

    def decide(self, accepted: list[IntLayer]) -> Placement:
        """Where each of the layers should run, by predicted time and the options."""
        cycles = {}
        for number, layer in enumerate(accepted):
            self._progress("predict", number, len(accepted))
            cycles[layer.name] = self._cycles(layer)
        costs = CpuCosts(GraphView(self._graph.model), self.cpu)
        return Placement(
            self._graph, accepted, cycles, self._cfg.clock_mhz, costs, self._options, reasons=self._reasons
        )

    def _cycles(self, layer: IntLayer) -> int:
        """Predicted cycles of a layer alone."""
        lowering = self._lowerings[layer.name]
        if isinstance(lowering, ConvLowering | AddLowering):
            return lowering.cycles()
        with self._context.aside():
            builder = StreamBuilder(self._cfg)
            lowering.emit(builder)
            return slice_cycles(self._cfg, builder.finish(), builder.banks)

    def _pack_steps(self, group: Group, packed: Mapping[str, Choice]) -> list[Step]:
        """What the CPU packs for the layers of a region."""
        steps: list[Step] = []
        for layer in group.layers:
            step = packed[layer.name].packing.step if layer.name in packed else None
            if step is not None:
                self._tensors.setdefault(step.input, tensor_of(layer.inputs[0]))
                steps.append(step)
        return steps

    def _batch(self, inputs: tuple[str, ...]) -> int:
        sizes = {self._tensors[name].shape[0] for name in inputs if self._tensors[name].shape}
        if len(sizes) > 1:
            raise ModelError(
                f"the network's inputs have different first dimensions {sorted(sizes)}: give --batch or --shape"
            )
        return max(1, *sizes) if sizes else 1

    def _region(self, group: Group) -> Region:
        """The layers of a group in one stream, in which each begins while the one before still runs."""
        code, builder = self._code[INSTRUCTIONS], StreamBuilder(self._cfg)
        first = len(code.insns)
        refine(
            self._context, [self._lowerings[layer.name] for layer in group.layers], partial(self._progress, "refine")
        )
        for layer in group.layers:
            builder.begin_layer()
            self._lowerings[layer.name].emit(builder)
            self._register(layer)
        code.add(builder.finish(), builder.relocations)
        for layer, (begin, count) in zip(group.layers, builder.layers, strict=True):
            self._layers.append(self._described(layer, first + begin, count))
        return Region(tuple(layer.name for layer in group.layers), first, code.end_launch(self._cfg) - first)

    def _register(self, layer: IntLayer) -> None:
        """Note the tensors of a layer and how it uses them."""
        for item in layer.inputs:
            self._tensors.setdefault(item.name, tensor_of(item))
            self._uses[item.name].add(Memory.INP)
        self._tensors[layer.output.name] = tensor_of(layer.output)
        self._uses[layer.output.name].add(Memory.OUT)

    def _alone(self, layer: IntLayer) -> tuple[int, int]:
        """First instruction and number of those that run the layer by itself."""
        code, builder = self._code[ALONE], StreamBuilder(self._cfg)
        first = len(code.insns)
        self._lowerings[layer.name].emit(builder)
        code.add(builder.finish(), builder.relocations)
        return first, code.end_launch(self._cfg) - first

    def _described(self, layer: IntLayer, first: int, count: int) -> Layer:
        attributes, values = reference_data(layer)
        arrays = {key: f"{layer.name}/{key}" for key in values}
        self._arrays |= {arrays[key]: value for key, value in values.items()}
        inputs = tuple(item.name for item in layer.inputs)
        places = first, count, *self._alone(layer)
        return Layer(layer.name, layer.op, inputs, layer.output.name, attributes, arrays, *places, layer.macs)
