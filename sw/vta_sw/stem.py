"""How the CPU hands a convolution its input: channels padded to a block, or windows packed into channels.

A convolution of few input channels wastes most of the array's rows. When the CPU makes its input, it can gather what
an output sees into channels (see :mod:`vta_arch.packing`): all columns of the kernel and G of its rows. The
convolution that is left has a kernel of ceil(rows / G) x 1 and no padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError
from vta_arch.isa import Memory
from vta_arch.layout import ceil_div
from vta_arch.packing import WINDOW_LIMIT, PackStep, is_compact
from vta_arch.program import Tensor, tensor_bytes

from .cpu_model import CpuProfile
from .graph import IntGraph, IntLayer, QTensor
from .graph.types import Ints
from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.errors import NotLowerableError

_BYTES_LIMIT = 1 << 28
"""A packed tensor is not larger."""
PACKING_MODES = ("time", "cycles", "none")
"""What a packing is chosen by: time with the CPU's share, the accelerator's cycles alone, or no packing."""


def pack_cycles(cfg: VTAConfig, cpu: CpuProfile, size: int) -> int:
    """Cycles of the accelerator in which the CPU moves ``size`` bytes while it packs or tiles a tensor."""
    return math.ceil(size / cpu.tile_bytes_per_second * cfg.clock_mhz * 1e6)


@dataclass(frozen=True)
class Packing:
    """A way to lower a convolution. Without ``step`` its input is the layer's own, with channels padded."""

    layer: IntLayer
    step: PackStep | None
    lowering: ConvLowering
    cycles: int
    cpu_cycles: int
    proved: bool = False
    """Whether ``cycles`` are those of the best tiling; otherwise it takes more than them."""

    @property
    def total(self) -> int:
        """Cycles of accelerator and CPU, one after the other."""
        return self.cycles + self.cpu_cycles

    def __str__(self) -> str:
        costs = f"{'' if self.proved else 'over '}{self.cycles:,} cycles + {self.cpu_cycles:,} of the CPU"
        if self.step is None:
            return f"channels padded ({costs})"
        rows, cols = self.step.window
        return f"{rows} x {cols} window packed into {self.layer.weight.shape[1]} channels ({costs})"


@dataclass(frozen=True)
class Choice:
    """The packing that was taken, and what it was chosen from, as a text."""

    packing: Packing
    text: str


def check_mode(mode: str) -> None:
    """Raises ModelError unless ``mode`` is one of PACKING_MODES."""
    if mode not in PACKING_MODES:
        raise ModelError(f"packing {mode!r} is unknown; choose one of {', '.join(PACKING_MODES)}")


def pack_inputs(
    context: Context,
    graph: IntGraph,
    layers: Sequence[IntLayer],
    lowerings: MutableMapping[str, Any],
    mode: str,
    cpu: CpuProfile,
) -> dict[str, Choice]:
    """Of each convolution whose input the CPU makes and could pack, how it is lowered; ``lowerings`` get those.

    ``layers``: all that run on the accelerator, in an order in which they can; ``mode``: one of PACKING_MODES; ``cpu``:
    what packs.
    """
    choices: dict[str, Choice] = {}
    for layer in layers:
        if not packs_input(layers, layer, mode):
            continue
        name, plain = _free_name(graph, layer), lowerings[layer.name]
        choices[layer.name] = choose_packing(context, layer, plain, name, cpu, mode)
        lowerings[layer.name] = choices[layer.name].packing.lowering
    return choices


def packs_input(layers: Sequence[IntLayer], layer: IntLayer, mode: str) -> bool:
    """Whether the CPU makes a layer's input and could pack it; ``layers``: all that run on the accelerator."""
    made = (other.output.name for other in layers)
    return mode != "none" and _can_pack(layer) and layer.inputs[0].name not in made


def packed_cost(context: Context, layer: IntLayer, plain: ConvLowering, cpu: CpuProfile, mode: str) -> int:
    """What a layer whose input can be packed costs with the best packing, in what ``mode`` chooses by."""
    best = choose_packing(context, layer, plain, layer.inputs[0].name, cpu, mode).packing
    return best.total if mode == "time" else best.cycles


def _free_name(graph: IntGraph, layer: IntLayer) -> str:
    """A name for the packed tensor that no tensor of the network has."""
    name = f"{layer.name}/packed"
    while name in graph.types or name in graph.shapes:
        name += "_"
    return name


def choose_packing(
    context: Context, layer: IntLayer, plain: ConvLowering, name: str, cpu: CpuProfile, mode: str
) -> Choice:
    """The cheapest way to lower a convolution whose input the CPU makes.

    ``plain``: its lowering on the input as it is; packed ones are of the same kind. ``name``: of the packed tensor.
    """
    found = _with_cycles(_packings(context, layer, plain, name, cpu), mode)
    others = ", ".join(str(item) for item in found[1:])
    return Choice(found[0], f"{found[0]}; instead of {others}" if others else str(found[0]))


def _with_cycles(found: list[Packing], mode: str) -> list[Packing]:
    """Packings, the cheapest first, with the cycles of all but those whose least cycles cost more than another one."""

    def cost(packing: Packing) -> int:
        return packing.total if mode == "time" else packing.cycles

    best = math.inf
    for number in sorted(range(len(found)), key=lambda index: cost(found[index])):
        if cost(found[number]) <= best:
            found[number] = replace(found[number], cycles=found[number].lowering.cycles(), proved=True)
            best = min(best, cost(found[number]))
    return sorted(found, key=lambda item: (not item.proved, cost(item)))


def _packings(context: Context, layer: IntLayer, plain: ConvLowering, name: str, cpu: CpuProfile) -> list[Packing]:
    """All ways to lower a convolution whose input the CPU makes, with the least cycles that they can take."""
    cfg, size = context.cfg, _tiled_bytes(context.cfg, layer.inputs[0])
    found = [Packing(layer, None, plain, plain.least_cycles, pack_cycles(cfg, cpu, size))]
    for step, packed in packed_layers(cfg, layer, name):
        try:
            lowering = type(plain)(context, packed)
        except NotLowerableError:
            continue
        source = packed.inputs[0]
        moved = math.prod(source.shape) + _tiled_bytes(cfg, source)
        found.append(Packing(packed, step, lowering, lowering.least_cycles, pack_cycles(cfg, cpu, moved)))
    return found


def _can_pack(layer: IntLayer) -> bool:
    several = layer.op == "conv" and math.prod(layer.kernel) > 1 and len(layer.inputs[0].shape) == 4
    return (
        several
        and layer.inputs[0].positions is None
        and layer.groups == 1
        and min(*layer.strides, *layer.dilations) >= 1
    )


def _tiled_bytes(cfg: VTAConfig, tensor: QTensor) -> int:
    return tensor_bytes(cfg, Tensor(tensor.name, tensor.shape, tensor.dtype), Memory.INP)


def packed_layers(cfg: VTAConfig, layer: IntLayer, name: str) -> Iterator[tuple[PackStep, IntLayer]]:
    """The layer on packed inputs, for each number of packed rows that splits the kernel evenly."""
    height = layer.kernel[0]
    for rows in sorted({ceil_div(height, parts) for parts in range(1, height + 1)}):
        if cfg.wgt_width == 1 and height % rows:
            continue  # rows that a last part lacks need weights of 0
        step, packed = pack_layer(layer, rows, name)
        source = packed.inputs[0]
        numbers = (*step.window, *step.strides, *step.dilations, *step.before)
        if max(numbers) > WINDOW_LIMIT or math.prod(source.shape) > _BYTES_LIMIT:
            continue
        if is_compact(step, layer.inputs[0].shape, source.shape):
            yield step, packed


def pack_layer(layer: IntLayer, rows: int, name: str) -> tuple[PackStep, IntLayer]:
    """The step that packs ``rows`` kernel rows and all columns, and the layer that reads its tensor ``name``.

    Part j of the kernel's rows sees the packed row that starts at input row y * stride + j * rows * dilation - padding:
    all of them stand on a grid of the greatest common divisor.
    """
    source, (height, width) = layer.inputs[0], layer.kernel
    n, channels, *_ = source.shape
    parts = ceil_div(height, rows)
    reach = rows * layer.dilations[0]
    grid = math.gcd(layer.strides[0], reach) if parts > 1 else layer.strides[0]
    stride, dilation = layer.strides[0] // grid, reach // grid if parts > 1 else 1
    out_rows, out_cols = (
        (size + layer.pads[axis] + layer.pads[axis + 2] - (layer.kernel[axis] - 1) * layer.dilations[axis] - 1)
        // layer.strides[axis]
        + 1
        for axis, size in enumerate(source.shape[2:])
    )
    packed_rows = (out_rows - 1) * stride + (parts - 1) * dilation + 1
    top, left, *_ = layer.pads
    step = PackStep(
        source.name,
        name,
        window=(rows, width),
        strides=(grid, layer.strides[1]),
        dilations=layer.dilations,
        before=(top, left),
        value=layer.pad_value,
    )
    packed = replace(
        source,
        name=name,
        shape=(n, rows * width * channels, packed_rows, out_cols),
        low=min(source.low, layer.pad_value),
        high=max(source.high, layer.pad_value),
    )
    return step, replace(
        layer,
        inputs=(packed, *layer.inputs[1:]),
        weight=_packed_weight(layer.weight, rows),
        strides=(stride, 1),
        dilations=(dilation, 1),
        pads=(0, 0, 0, 0),
        pad_value=0,
        true_weights=layer.weight.size,
    )


def _packed_weight(weight: Ints, rows: int) -> Ints:
    """[O, C, KH, KW] -> [O, rows * KW * C, parts, 1]; rows that the last part lacks are 0."""
    outputs, channels, height, width = weight.shape
    parts = ceil_div(height, rows)
    padded = np.zeros((outputs, channels, parts * rows, width), weight.dtype)
    padded[:, :, :height] = weight
    split = padded.reshape(outputs, channels, parts, rows, width).transpose(0, 3, 4, 1, 2)
    return split.reshape(outputs, rows * width * channels, parts, 1)
