"""A compiled program: tensors, layers, steps, and the bytes that the accelerator reads.

A program owns one arena of DRAM. Its constant segments (instructions, micro-ops, weights and
biases) and its activation tensors have byte offsets in the arena; every base register is set to the
arena's start, so that the dram_base fields of the instructions count elements from there.
The file format is in :mod:`vta_arch.program_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .config import BASE_ALIGNMENT, VTAConfig
from .encoding import Insn, decode_stream
from .errors import ProgramError
from .isa import INSN_BYTES, Memory, memory_elem_bytes
from .layout import ceil_div
from .packing import PackStep

FORMAT_VERSION = 4

Element = TypeVar("Element", bound=np.generic)

INTEGER_TYPES: dict[str, tuple[int, bool]] = {
    "int8": (8, True),
    "uint8": (8, False),
    "int4": (4, True),
    "uint4": (4, False),
    "int2": (2, True),
    "uint2": (2, False),
}
"""Integer activation types by ONNX name: width in bits and signedness."""

HOST_TYPES = ("bool", "float16", "float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64")
"""Types that only tensors of the CPU have."""

ARRAY_TYPES = ("int8", "int16", "int32", "int64")
"""Types of the integer reference's arrays."""

INSTRUCTIONS, ALONE = "instructions", "alone"
"""Segments of instructions: of all regions, and of the layers by themselves."""

FUSED_INTO = "fused into "
"""How the reason begins why a node is no layer itself, when another layer took it in."""

OPERATORS = ("conv", "conv_transpose", "add", "maxpool", "rectify", "select", "upsample")
"""Operators of accelerator layers; a dense layer is a conv whose kernel is the whole input, and what weighs each
channel alone (average pools, products and sums with constants, padding) is a depthwise conv."""


def nchw_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A shape as [N, C, H, W]: [N, rows, features] has its features as channels; missing axes are 1."""
    n, c, h, w = (shape[0], shape[2], shape[1], 1) if len(shape) == 3 else (*shape, 1, 1)[:4]
    return n, c, h, w


def channels_first(values: NDArray[Element]) -> NDArray[Element]:
    """A tensor's values as [N, C, H, W], see :func:`nchw_shape`."""
    return (values.swapaxes(1, 2) if values.ndim == 3 else values).reshape(nchw_shape(values.shape))


@dataclass(frozen=True)
class Tensor:
    """A value at the border of a step. ``shape`` is its ONNX shape, the program's batch first.

    ``low`` and ``high`` bound an integer tensor's values. ``inp_offset`` is its byte offset in the arena as
    tiles that GEMM reads (-1: none), ``out_offset`` as tiles that STORE writes; they are equal where both
    layouts are the same.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: int = 0
    high: int = 0
    inp_offset: int = -1
    out_offset: int = -1

    @property
    def is_integer(self) -> bool:
        """Whether the accelerator can hold it."""
        return self.dtype in INTEGER_TYPES

    @property
    def host_dtype(self) -> np.dtype[np.generic]:
        """numpy type of the tensor in host memory; below 8 bits one element a byte."""
        if self.is_integer:
            return np.dtype(np.int8 if INTEGER_TYPES[self.dtype][1] else np.uint8)
        return np.dtype(self.dtype)

    @property
    def port(self) -> str:
        """Its name at the border of a CPU subgraph: types below 8 bits cross it as float32."""
        return f"{self.name}/as_float" if self.is_integer and INTEGER_TYPES[self.dtype][0] < 8 else self.name

    @property
    def nchw(self) -> tuple[int, int, int, int]:
        """The shape as [N, C, H, W], see :func:`nchw_shape`."""
        if not 2 <= len(self.shape) <= 4:
            raise ProgramError(f"tensor {self.name!r} has {len(self.shape)} dimensions: the accelerator takes 2 to 4")
        return nchw_shape(self.shape)

    def as_shaped(self, values: NDArray[Element]) -> NDArray[Element]:
        """[N, C, H, W] as the tensor's shape."""
        return (values.swapaxes(1, 2) if len(self.shape) == 3 else values).reshape(self.shape)


@dataclass(frozen=True)
class Layer:
    """One accelerator layer: what it computes (``attributes``, ``arrays``) and where its instructions are.

    ``instructions[first : first + count]`` are the layer's part of its region. ``alone[alone_first : alone_first +
    alone_count]`` run it by itself, FINISH included: it then waits for no other layer. Attributes of conv:
    kernel, strides, pads (top, left, bottom, right), pad_value, dilations, low, high; arrays weight [O, I, KH, KW],
    bias [O], shift [O]; a weight of I channels on an input of I * G has G groups. Of add: factors (of both inputs),
    bias, shift, low, high. A layer that STORE requantizes has the array requant instead of low, high, bias and shift:
    the 32-bit words of the parameters, [O, 4] or, of an add, [1, 4]. A conv into which a residual add is fused has that
    add's factors (of its own output and of the second input) and the array requant_add; one into which a MaxPool is
    fused has pool_kernel, pool_strides and pool_pads.
    conv_transpose: as conv, of an input whose values stand strides apart, with pad_value between and around them; its
    own stride is 1, and negative pads leave values at the border out.
    maxpool: as conv, without weight and bias, one shift; always pad_value. rectify: factors (p, q) and floor of
    max(x, floor) * p + x * q, shift. upsample: factors, how often each row and column is repeated, shift. select: array
    channels [O], the channel of all inputs, one behind the other, that each output channel takes (-1: 0); bias,
    shift. The parameters of maxpool, rectify and upsample are [1, 4]. positions: height and width of the one input
    where they are not its tensor's but as many positions in the same order.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, tuple[int, ...]]
    arrays: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    count: int = 0
    alone_first: int = 0
    alone_count: int = 0
    macs: int = 0

    def scalar(self, name: str) -> int:
        """An attribute of one value."""
        return self.attributes[name][0]


@dataclass(frozen=True)
class Region:
    """A step on the accelerator: one launch of ``count`` instructions, FINISH included."""

    layers: tuple[str, ...]
    first: int
    count: int


@dataclass(frozen=True)
class CpuStep:
    """A step on the CPU: an ONNX subgraph, its inputs and outputs named by their tensors."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...] = ()


Step = Region | CpuStep | PackStep


@dataclass(frozen=True)
class Segment:
    """Constant bytes at a byte offset of the arena."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Program:
    """A compiled network. ``inputs`` and ``outputs`` name tensors, in the network's order.

    ``batch`` is the number of images of one pass. ``offload`` says for each node that could have been a layer
    why it is none (it runs on the CPU, or another layer took it in), ``choices`` for each layer that could be
    lowered in several ways which was taken, and their costs.
    """

    config: VTAConfig
    batch: int
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    segments: tuple[Segment, ...]
    arrays: Mapping[str, NDArray[np.integer]]
    arena_size: int
    name: str = "network"
    offload: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)

    def segment(self, name: str) -> Segment:
        """The constant segment called ``name``. Raises ProgramError if there is none."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise ProgramError(f"program has no segment {name!r}")

    @property
    def instruction_bytes(self) -> bytes:
        """The whole instruction stream, 16 bytes an instruction: all regions, each ended by FINISH."""
        return self.segment(INSTRUCTIONS).data

    def instructions(self) -> list[Insn]:
        """The decoded instruction stream."""
        return decode_stream(self.config, self.instruction_bytes)

    @cached_property
    def _layer_index(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def layer(self, name: str) -> Layer:
        """The layer called ``name``. Raises ProgramError that lists the layers if there is none."""
        if name not in self._layer_index:
            known = ", ".join(self._layer_index) or "none"
            reason = f" ({self.offload[name]})" if name in self.offload else ""
            raise ProgramError(f"program has no accelerator layer {name!r}{reason}; layers: {known}")
        return self._layer_index[name]

    def layer_stream(self, name: str) -> bytes:
        """Instructions that run one layer alone, FINISH included."""
        layer = self.layer(name)
        return self.segment(ALONE).data[layer.alone_first * INSN_BYTES :][: layer.alone_count * INSN_BYTES]

    @property
    def on_cpu(self) -> dict[str, str]:
        """Nodes that could have been layers and run on the CPU, and why."""
        return {name: reason for name, reason in self.offload.items() if not reason.startswith(FUSED_INTO)}

    @property
    def macs(self) -> int:
        """True multiply-accumulates of one pass on the accelerator, padding not counted."""
        return sum(layer.macs for layer in self.layers)

    def require(self, config: VTAConfig) -> None:
        """Raises ProgramError unless ``config`` is the configuration that the program was compiled for."""
        if config.fingerprint() != self.config.fingerprint():
            raise ProgramError(
                f"program was compiled for configuration {self.config.name} ({self.config.fingerprint_hex}), "
                f"the device has {config.name} ({config.fingerprint_hex}); compile it again with --config {config.name}"
            )

    def save(self, path: str | Path) -> None:
        """Write the program to ``path``, whole or not at all. Raises DataError when it cannot be written."""
        from .program_file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read a program. Raises ProgramError in one line for anything but an undamaged program file."""
        from .program_file import load

        return load(Path(path))


def alignment(config: VTAConfig, memory: Memory) -> int:
    """Bytes that an arena offset of ``memory`` must be a multiple of."""
    return max(BASE_ALIGNMENT, memory_elem_bytes(config, memory))


def tensor_elements(config: VTAConfig, tensor: Tensor, memory: Memory) -> int:
    """Elements of ``memory`` (INP or OUT) that a tensor fills as tiles."""
    n, c, h, w = tensor.nchw
    block = config.block_in if memory == Memory.INP else config.block_out
    return ceil_div(n, config.batch) * ceil_div(c, block) * h * w


def tensor_bytes(config: VTAConfig, tensor: Tensor, memory: Memory) -> int:
    """Bytes that a tensor fills as tiles of ``memory``."""
    return tensor_elements(config, tensor, memory) * memory_elem_bytes(config, memory)
