"""Compile a quantized network to a program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError
from vta_arch.isa import Memory
from vta_arch.program import ALONE, INSTRUCTIONS, Layer, Program, Region, Step, Tensor

from .frontend import Graph, prepare, read_model
from .frontend.shapes import file_batch
from .graph import IntGraph, IntLayer, QTensor, import_graph
from .lifetimes import find_lifetimes
from .link import Code, link, same_layout
from .lower.add import AddLowering
from .lower.chain import ChainLowering
from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.depthwise import DepthwiseLowering
from .lower.errors import NotLowerableError
from .lower.requantize import drop_dead_channels
from .lower.select import SelectLowering
from .lower.stream import StreamBuilder
from .lower.upsample import UpsampleLowering
from .partition import Group, Partition

Progress = Callable[[str, int, int], None]
Lowering = ConvLowering | AddLowering | SelectLowering | UpsampleLowering

LOWERINGS: dict[str, Callable[[Context, IntLayer], Lowering]] = {
    "conv": ConvLowering,
    "depthwise": DepthwiseLowering,
    "add": AddLowering,
    "maxpool": ChainLowering,
    "rectify": ChainLowering,
    "select": SelectLowering,
    "upsample": UpsampleLowering,
}
"""How each operator is lowered. Making one raises NotLowerableError when it cannot be."""


def compile(
    model: Path | str | onnx.ModelProto,
    cfg: VTAConfig,
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
) -> Program:
    """Compile a QDQ network for ``cfg``.

    Args:
        model: a file, or a model in memory.
        batch: images of one pass where the model leaves it open; the configuration's by default.
        shapes: shapes of inputs by name, where the model leaves them open.
        progress: called with a text, the steps done and the steps in all.

    Raises ModelError for a model that is damaged, not quantized, or has dynamic dimensions.
    """
    name = Path(model).stem if isinstance(model, str | Path) else model.graph.name or "network"
    source = model if isinstance(model, onnx.ModelProto) else read_model(Path(model))
    if batch is None and file_batch(Graph(source)) is None:
        batch = cfg.batch
    graph = import_graph(prepare(source, batch=batch, shapes=shapes), cfg)
    return _Compilation(cfg, graph, progress or _quiet).run(name)


def _quiet(_text: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def check_types(cfg: VTAConfig, layer: IntLayer) -> None:
    """Raises NotLowerableError unless the layer's values fit the configuration's widths."""
    for tensor in (*layer.inputs, layer.output):
        if tensor.low < cfg.inp_min or tensor.high > cfg.inp_max:
            raise NotLowerableError(
                f"activation {tensor.name!r} of {tensor.dtype} has values from {tensor.low} to {tensor.high}, "
                f"configuration {cfg.name} holds {cfg.inp_min} to {cfg.inp_max}"
            )
    weight = layer.weight
    if weight.size == 0:
        return
    if int(weight.min()) < cfg.wgt_min or int(weight.max()) > cfg.wgt_max:
        raise NotLowerableError(
            f"its weights go from {weight.min()} to {weight.max()}, configuration {cfg.name} holds "
            f"{cfg.wgt_min} to {cfg.wgt_max}"
        )
    if cfg.wgt_width == 1 and not weight.all():
        raise NotLowerableError("a weight is 0, which 1-bit weights (+1 or -1) cannot be")


def _tensor(item: QTensor) -> Tensor:
    return Tensor(item.name, item.shape, item.dtype, item.low, item.high)


def _reference_data(layer: IntLayer) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[np.integer]]]:
    """Attributes and arrays from which the integer reference computes the layer."""
    window = {"kernel": layer.kernel, "strides": layer.strides, "pads": layer.pads, "dilations": layer.dilations}
    attributes: dict[str, tuple[int, ...]] = {
        "conv": window,
        "maxpool": window | {"pad_value": (layer.pad_value,)},
        "rectify": {"factors": layer.factors, "floor": (layer.floor,)},
        "select": {},
    }.get(layer.op, {"factors": layer.factors})
    values: dict[str, NDArray[np.integer]] = {}
    if layer.op == "conv":
        values["weight"] = layer.weight.astype(np.int8)
    if layer.op == "select":
        values["channels"] = layer.channels.astype(np.int32)
    if layer.requant is not None:
        values["requant"] = layer.requant.pack().view("<i4")
        return attributes | ({"pad_value": (layer.pad_value,)} if layer.op == "conv" else {}), values
    attributes |= {"low": (layer.low,), "high": (layer.high,)}
    if not layer.own_channels:
        return attributes | {"shift": (int(layer.shift[0]),)}, values
    return attributes, values | {"bias": layer.bias, "shift": layer.shift.astype(np.int32)}


class _Compilation:
    """The compilation of one network."""

    def __init__(self, cfg: VTAConfig, graph: IntGraph, progress: Progress) -> None:
        self._cfg, self._graph, self._progress = cfg, graph, progress
        self._context = Context(cfg)
        self._reasons = dict(graph.reasons)
        self._lowerings: dict[str, Lowering] = {}
        self._code = {INSTRUCTIONS: Code(), ALONE: Code()}
        self._tensors: dict[str, Tensor] = {}
        self._uses: dict[str, set[Memory]] = defaultdict(set)
        self._layers: list[Layer] = []
        self._arrays: dict[str, NDArray[np.integer]] = {}

    def run(self, name: str) -> Program:
        """The program of the network, called ``name``."""
        accepted = self._accept()
        partition = Partition(self._graph, accepted, same_layout=same_layout(self._cfg))
        steps: list[Step] = []
        total = len(partition.groups)
        for number, group in enumerate(partition.groups):
            self._progress("lower", number, total)
            step = self._region(group) if group.layers else partition.cpu_step(group, self._tensors)
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
            name=name,
            offload=self._reasons,
        )

    def _accept(self) -> list[IntLayer]:
        """Layers that this configuration can run; the others get a reason."""
        accepted = []
        for number, layer in enumerate(self._graph.layers):
            self._progress("tile", number, len(self._graph.layers))
            try:
                check_types(self._cfg, layer)
                layer = drop_dead_channels(self._cfg, layer)
                self._lowerings[layer.name] = LOWERINGS["depthwise" if layer.is_depthwise else layer.op](
                    self._context, layer
                )
            except NotLowerableError as reason:
                self._reasons[layer.name] = str(reason)
                continue
            accepted.append(layer)
        return accepted

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
        for layer in group.layers:
            builder.begin_layer()
            begin = len(builder)
            self._lowerings[layer.name].emit(builder)
            self._register(layer)
            self._layers.append(self._described(layer, first + begin, len(builder) - begin))
        code.add(builder.finish(), builder.relocations)
        return Region(tuple(layer.name for layer in group.layers), first, code.end_launch(self._cfg) - first)

    def _register(self, layer: IntLayer) -> None:
        """Note the tensors of a layer and how it uses them."""
        for item in layer.inputs:
            self._tensors.setdefault(item.name, _tensor(item))
            self._uses[item.name].add(Memory.INP)
        self._tensors[layer.output.name] = _tensor(layer.output)
        self._uses[layer.output.name].add(Memory.OUT)

    def _alone(self, layer: IntLayer) -> tuple[int, int]:
        """First instruction and number of those that run the layer by itself."""
        code, builder = self._code[ALONE], StreamBuilder(self._cfg)
        first = len(code.insns)
        self._lowerings[layer.name].emit(builder)
        code.add(builder.finish(), builder.relocations)
        return first, code.end_launch(self._cfg) - first

    def _described(self, layer: IntLayer, first: int, count: int) -> Layer:
        attributes, values = _reference_data(layer)
        arrays = {key: f"{layer.name}/{key}" for key in values}
        self._arrays |= {arrays[key]: value for key, value in values.items()}
        inputs = tuple(item.name for item in layer.inputs)
        places = first, count, *self._alone(layer)
        return Layer(layer.name, layer.op, inputs, layer.output.name, attributes, arrays, *places, layer.macs)
