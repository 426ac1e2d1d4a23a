"""The geometry of a convolution in elements of the accelerator's memories."""

from __future__ import annotations

from dataclasses import dataclass

from vta_arch.config import VTAConfig
from vta_arch.isa import Opcode, insn_fields, padded_load_fields
from vta_arch.layout import ceil_div

from ..graph.types import IntLayer
from .errors import NotLowerableError
from .weight_tiles import TilePattern

MOST_ROWS = (1 << 16) - 1
"""Rows of a LOAD that pads with zero."""


def most_rows(cfg: VTAConfig, layer: IntLayer) -> int:
    """Rows of a LOAD of the layer's input."""
    return padded_load_fields(cfg)["y_size"].max if layer.pad_value else MOST_ROWS


def signed_pad(value: int) -> int:
    """An activation as the pad_value of a LOAD, whose low bits each element takes."""
    return value - 256 if value > 127 else value


@dataclass(frozen=True)
class Axis:
    """One spatial axis: input size, output size, kernel, stride, dilation and padding before and after.

    With ``skip`` > 1 only every skip-th input row is loaded; rows in the scratchpad are then ``step`` apart.
    """

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    skip: int = 1

    @property
    def step(self) -> int:
        """Scratchpad rows from one output to the next."""
        return self.stride // self.skip

    def window(self, count: int) -> int:
        """Scratchpad rows that ``count`` outputs need."""
        return (count - 1) * self.step + (self.kernel - 1) * self.dilation + 1

    def span(self, first: int, count: int) -> tuple[int, int, int, int]:
        """Input of outputs [first, first + count): first row, rows, rows of padding before and after."""
        start = first * self.stride - self.before
        end = start + (self.window(count) - 1) * self.skip
        before, after = max(0, -start), max(0, end - (self.size - 1))
        return start + before, self.window(count) - before - after, before, after


@dataclass(frozen=True)
class ConvGeometry:
    """Sizes of a convolution: images and channels in blocks, and both axes."""

    images: int
    out_blocks: int
    in_blocks: int
    rows: Axis
    cols: Axis
    most_rows: int = MOST_ROWS
    """Rows of a LOAD: fewer where it pads with a value."""
    pattern: TilePattern | None = None
    """Weight tiles that are used; None: all."""
    phases: int = 1
    """Outputs that a position of both axes makes."""
    kernel: int = 0
    """Positions of the kernel, where they are not those of both axes; 0: they are."""

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.kernel or self.rows.kernel * self.cols.kernel

    @property
    def products(self) -> float:
        """Products that an output vector needs, on average over the output blocks."""
        return self.in_blocks * self.taps if self.pattern is None else self.pattern.total / self.out_blocks

    def parts(self, out: int, into: int) -> tuple[int, int]:
        """Of weights in parts of ``out`` x ``into`` blocks: how many parts are used, and most tiles of one."""
        if self.pattern is None:
            return ceil_div(self.out_blocks, out) * ceil_div(self.in_blocks, into), out * into * self.taps
        return self.pattern.steps(out, into)


def conv_geometry(cfg: VTAConfig, layer: IntLayer) -> ConvGeometry:
    """The geometry of a conv layer. Raises NotLowerableError for one that LOAD cannot pad or address."""
    n, c, h, w = layer.inputs[0].nchw
    kh, kw = layer.kernel
    top, left, bottom, right = layer.pads
    if min(layer.strides) < 1 or min(layer.dilations) < 1 or min(kh, kw) < 1:
        raise NotLowerableError("it has a stride, dilation or kernel of less than 1")
    axes = []
    skip = layer.strides[0] if kh == 1 else 1
    for size, kernel, stride, dilation, before, after, jump in (
        (h, kh, layer.strides[0], layer.dilations[0], top, bottom, skip),
        (w, kw, layer.strides[1], layer.dilations[1], left, right, 1),
    ):
        out = (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
        axes.append(Axis(size, out, kernel, stride, dilation, before, after, jump))
        check_pads(cfg, axes[-1])
    expected = (n, layer.weight.shape[0], axes[0].out, axes[1].out)
    if layer.made.nchw != expected or min(expected) < 1:
        raise NotLowerableError(f"its output has the shape {layer.made.nchw} instead of {expected}")
    limit = insn_fields(cfg, Opcode.LOAD)["x_stride"].max
    if w * skip > limit or axes[1].out > limit:
        raise NotLowerableError(f"its rows of {w} elements are longer than the {limit} that LOAD can step over")
    return ConvGeometry(
        ceil_div(n, cfg.batch),
        ceil_div(layer.weight.shape[0], cfg.block_out),
        ceil_div(c, cfg.block_in),
        rows=axes[0],
        cols=axes[1],
        most_rows=most_rows(cfg, layer),
    )


def check_pads(cfg: VTAConfig, axis: Axis) -> None:
    """Raises NotLowerableError unless LOAD can pad the axis."""
    limit = insn_fields(cfg, Opcode.LOAD)["y_pad_0"].max
    reach = (axis.kernel - 1) * axis.dilation
    for pad in (axis.before, axis.after):
        if not 0 <= pad <= limit:
            raise NotLowerableError(f"its padding of {pad} is not from 0 to {limit}")
        if pad > reach:
            raise NotLowerableError(f"its padding of {pad} is wider than its kernel's reach of {reach}")
