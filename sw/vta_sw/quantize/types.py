"""What the three steps of quantization hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from vta_arch.config import VTAConfig

_ONNX_TYPES = {
    (8, True): TensorProto.INT8,
    (8, False): TensorProto.UINT8,
    (4, True): TensorProto.INT4,
    (4, False): TensorProto.UINT4,
    (2, True): TensorProto.INT2,
    (2, False): TensorProto.UINT2,
}


@dataclass(frozen=True)
class IntType:
    """An integer type of 2, 4 or 8 bits, and the integer that stands for 0."""

    bits: int
    signed: bool
    zero: int = 0

    @property
    def low(self) -> int:
        """Least value, in steps from 0: without the zero point."""
        return (-(1 << (self.bits - 1)) if self.signed else 0) - self.zero

    @property
    def high(self) -> int:
        """Greatest value, in steps from 0: without the zero point."""
        return ((1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1) - self.zero

    @property
    def onnx_type(self) -> int:
        """The element type in TensorProto."""
        return int(_ONNX_TYPES[(self.bits, self.signed)])

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"


def activation_type(cfg: VTAConfig) -> IntType:
    """The type that the configuration's input scratchpad holds."""
    return IntType(cfg.inp_width, cfg.inp_is_signed)


def weight_type(cfg: VTAConfig) -> IntType:
    """The type that the configuration's weight scratchpad holds."""
    return IntType(cfg.wgt_width, True)


def has_zero_points(cfg: VTAConfig) -> bool:
    """Whether activations may have zero points, and so be unsigned on an accelerator of signed ones."""
    return "pad_value" in cfg.extensions


def has_any_scale(cfg: VTAConfig) -> bool:
    """Whether scales may be any positive float32 number; powers of two otherwise."""
    return "requant" in cfg.extensions


@dataclass(frozen=True)
class LayerPlan:
    """One operator that becomes integer, with what is fused behind it.

    ``inputs``: its activation tensors (one, two for an Add without constant, all of a Concat). ``output``: the
    tensor that is requantized, after the fused Relu or Clip. ``weight`` and ``bias`` are names of constants.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    output: str
    weight: str | None = None
    bias: str | None = None
    fused: str | None = None
    """Name of the Relu or Clip between the operator and its output."""
    transposed: int = 0
    """Groups of a weight [in, out / groups, ...], of a transposed convolution or a MatMul; 0: it is [out, in, ...]."""
    adder: str | None = None
    """Name of the Add behind a MatMul that adds its bias."""

    @property
    def taken(self) -> set[str]:
        """Names of the nodes behind it that belong to it."""
        return {name for name in (self.fused, self.adder) if name is not None}


@dataclass(frozen=True)
class SameScale:
    """An operator that moves or selects values: quantized with one scale on both of its sides."""

    name: str
    source: str
    output: str


@dataclass
class Annotation:
    """Result of the first step: what becomes integer and what does not, and why."""

    layers: list[LayerPlan] = field(default_factory=list)
    links: list[SameScale] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    """Quantized activation tensor -> the tensor that stands for all that share its scale."""
    floats: dict[str, str] = field(default_factory=dict)
    """Node that stays float -> the reason."""

    def roots(self) -> list[str]:
        """One tensor for each scale to be found."""
        return sorted(set(self.groups.values()))


@dataclass
class WeightQuant:
    """Integer weights and bias of a layer.

    ``values``: like the float weight. ``scales``: float32 numbers, one a channel.
    ``bias``: int64 in units of input scale * weight scale, one a channel.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float64]
    bias: NDArray[np.int64]
    snr_db: float
    coarsened: int
    """Channels that got a coarser scale so that their accumulators cannot overflow."""
