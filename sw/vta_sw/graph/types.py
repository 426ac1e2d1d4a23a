"""Data of the integer graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_arch.program import nchw_shape
from vta_arch.requant import RequantParams

Ints = NDArray[np.int64]


def nchw_axes(rank: int) -> tuple[int, ...]:
    """Which of N, C, H, W each axis of a tensor of so many dimensions is."""
    return (0, 2, 1) if rank == 3 else tuple(range(rank))


@dataclass(frozen=True)
class QTensor:
    """An integer activation: its ONNX name and shape, its type and scale, bounds of its values, and its zero point.

    The real value is scale * (integer - zero); ``low`` and ``high`` bound the integer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    low: int
    high: int
    zero: int = 0
    positions: tuple[int, int] | None = None
    """Height and width as a layer sees them, where it reads through a reshape of the tensor's; None: the shape's."""

    @property
    def nchw(self) -> tuple[int, int, int, int]:
        """The shape as [N, C, H, W], see :func:`vta_arch.program.nchw_shape`."""
        n, c, h, w = nchw_shape(self.shape)
        return (n, c, *self.positions) if self.positions else (n, c, h, w)


@dataclass(frozen=True)
class Residual:
    """An add behind a convolution: requantize(y * factors[0] + shortcut * factors[1], requant).

    ``y`` is the convolution's own integer output, the shortcut the layer's second input; ``made`` describes ``y``.
    """

    factors: tuple[int, int]
    requant: RequantParams
    made: QTensor


@dataclass(frozen=True)
class Pool:
    """A MaxPool behind a convolution; padding is left out of the maximum. ``made`` is what it pools.

    kernel and strides: of rows and columns; pads: top, left, bottom, right.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    made: QTensor


@dataclass(frozen=True)
class IntLayer:
    """One layer in integers, and the ONNX nodes (by index) that it stands for.

    With ``requant`` (one set of parameters for each output channel, of an add one set in all):
    conv: requantize(conv(x, weight), requant), x padded with pad_value; a dense layer is a 1x1 conv, and a
    weight of fewer input channels than the input has groups (see ``groups``).
    conv_transpose: the same of x with its values ``strides`` apart, pad_value between and around them: a convolution
    whose own stride is 1. Negative pads leave outer rows or columns of that out.
    add: requantize(a * factors[0] + b * factors[1], requant).
    maxpool: requantize(maximum of each window of x, padded with pad_value).
    rectify: requantize(max(x, floor) * factors[0] + x * factors[1]).
    upsample: requantize(x, each row repeated factors[0] times and each column factors[1] times).
    select: requantize(channels of all inputs, one behind the other, that ``channels`` names for each output channel;
    -1 is 0).

    Without it, where all scales are powers of two:
    conv: clip(round_half_up((conv(x, weight) + bias) / 2**shift), low, high).
    add: clip(round_half_up((a * factors[0] + b * factors[1] + bias[0]) / 2**shift[0]), low, high); the others likewise,
    without a bias, select with a shift for each output channel. Zero points are in the biases.

    ``fused``: what follows a convolution within the layer; its requantization comes before that.
    """

    name: str
    op: str
    inputs: tuple[QTensor, ...]
    output: QTensor
    nodes: tuple[int, ...]
    low: int
    high: int
    shift: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    weight: Ints = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int64))
    bias: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    factors: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    requant: RequantParams | None = None
    pad_value: int = 0
    window: tuple[int, int] | None = None
    """Height and width of the kernel where there are no weights."""
    floor: int = 0
    channels: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    true_weights: int = 0
    """Weights of the convolution as it was given, where ``weight`` has more; 0: all of ``weight``."""
    fused: Residual | Pool | None = None
    before: tuple[int, ...] = ()
    """Nodes in front of the layer that scale its input by single numbers, which the layer does itself."""

    @property
    def all_nodes(self) -> tuple[int, ...]:
        """The nodes that it stands for, and those in front of it that only scale its input."""
        return *self.before, *self.nodes

    @property
    def made(self) -> QTensor:
        """The output of the layer's own operator, before what is fused behind it."""
        return self.output if self.fused is None else self.fused.made

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.window or (self.weight.shape[2], self.weight.shape[3])

    @property
    def own_channels(self) -> int:
        """Output channels where each has parameters of its own, 0 where all share one."""
        if self.is_weighted:
            return len(self.weight)
        return len(self.channels) if self.op == "select" else 0

    @property
    def is_weighted(self) -> bool:
        """Whether it is a convolution, transposed or not."""
        return self.op in ("conv", "conv_transpose")

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel sees only the input channel of its number, of several."""
        return self.op == "conv" and 1 < self.groups == self.inputs[0].nchw[1] == self.weight.shape[0]

    @property
    def groups(self) -> int:
        """Groups of a convolution's channels: each sees only the input channels of its own group."""
        depth: int = self.weight.shape[1]
        return self.inputs[0].nchw[1] // max(depth, 1)

    @property
    def macs(self) -> int:
        """True multiply-accumulates, of convolutions; a transposed one multiplies each input by all weights."""
        n, _, h, w = self.inputs[0].nchw if self.op == "conv_transpose" else self.made.nchw
        return n * h * w * (self.true_weights or self.weight.size) if self.is_weighted else 0


@dataclass(frozen=True)
class IntGraph:
    """A network with the layers that were recognised in it.

    ``model`` is the network that node indices refer to; ``reasons`` says for each Conv, Gemm, MatMul and Add that
    is no layer why.
    """

    model: onnx.ModelProto
    layers: tuple[IntLayer, ...]
    reasons: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]
