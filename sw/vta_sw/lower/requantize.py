"""Requantization by ALU passes, and the proof that no accumulator overflows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.isa import AluOp, Opcode, insn_fields
from vta_arch.layout import pack_bits, tile_channels

from ..graph.types import IntLayer, Ints
from .errors import NotLowerableError


@dataclass(frozen=True)
class Pass:
    """One ALU pass: with an immediate, or (``vector`` >= 0) with a constant vector per output block."""

    op: AluOp
    imm: int = 0
    vector: int = -1


@dataclass(frozen=True)
class Requantization:
    """Passes that turn accumulators into outputs, and their constants.

    ``vectors``: int64 [number, output blocks, batch, block_out].
    """

    passes: tuple[Pass, ...]
    vectors: NDArray[np.int64]

    @property
    def cycles(self) -> int:
        """ALU cycles per accumulator vector."""
        return sum(1 if item.vector < 0 else 2 for item in self.passes)

    def packed(self, cfg: VTAConfig) -> bytes:
        """The constants as accumulator elements, number by number."""
        return pack_bits(self.vectors, cfg.acc_width).tobytes()


def conv_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest accumulator of each output channel, before the bias."""
    tensor = layer.inputs[0]
    low, high = min(tensor.low, 0), max(tensor.high, 0)
    flat = layer.weight.reshape(layer.weight.shape[0], -1)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    return positive * low + negative * high, positive * high + negative * low


def add_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest sum of an add's aligned inputs, as arrays of one element."""
    low = sum(t.low << e for t, e in zip(layer.inputs, layer.exponents, strict=True))
    high = sum(t.high << e for t, e in zip(layer.inputs, layer.exponents, strict=True))
    return np.array([low]), np.array([high])


def drop_dead_channels(cfg: VTAConfig, layer: IntLayer) -> IntLayer:
    """Channels whose shift is so large that they are always 0 become zero weights.

    Raises NotLowerableError when a shift is too large for the accumulators.
    """
    large = layer.shift > cfg.acc_width - 2
    if not large.any():
        return layer
    low, high = conv_bounds(layer) if layer.op == "conv" else add_bounds(layer)
    bias = layer.bias if layer.op == "conv" else 0
    reach = np.maximum(np.abs(low + bias), np.abs(high + bias))
    half = np.exp2(np.minimum(layer.shift, 1000).astype(np.float64) - 1)
    if layer.op != "conv" or cfg.wgt_width == 1 or np.any(large & (reach >= half)):
        raise NotLowerableError(f"a shift of {layer.shift.max()} is too large for {cfg.acc_width}-bit accumulators")
    weight, bias, shift = layer.weight.copy(), layer.bias.copy(), layer.shift.copy()
    weight[large], bias[large], shift[large] = 0, 0, 0
    return replace(layer, weight=weight, bias=bias, shift=shift)


def _check_range(cfg: VTAConfig, low: Ints, high: Ints, what: str) -> None:
    least, most = int(low.min()), int(high.max())
    if least < cfg.acc_min or most > cfg.acc_max:
        raise NotLowerableError(
            f"{what} can reach {least if -least > most else most}, beyond the {cfg.acc_width}-bit accumulator"
        )


def plan_requantization(cfg: VTAConfig, layer: IntLayer) -> Requantization:
    """Passes for bias, shift and clip of a conv or add.

    Raises NotLowerableError when an accumulator could overflow.
    """
    low, high = conv_bounds(layer) if layer.op == "conv" else add_bounds(layer)
    channels = layer.weight.shape[0] if layer.op == "conv" else max(cfg.block_in, cfg.block_out)
    bias = layer.bias if layer.op == "conv" else np.zeros(channels, np.int64)
    shift = np.broadcast_to(layer.shift, (channels,))
    if np.abs(shift).max() > cfg.acc_width - 1:
        raise NotLowerableError(f"a shift of {shift.min()} is too large for {cfg.acc_width}-bit accumulators")
    _check_range(cfg, low, high, "a sum")
    bias = bias + np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    low, high = low + bias, high + bias
    _check_range(cfg, low, high, "a sum with its bias")
    left, right = np.maximum(-shift, 0), np.maximum(shift, 0)
    if np.any(np.abs(low) > cfg.acc_max >> left) or np.any(np.abs(high) > cfg.acc_max >> left):
        raise NotLowerableError(f"a sum shifted left by {left.max()} leaves the {cfg.acc_width}-bit accumulator")
    low, high = (low << left) >> right, (high << left) >> right
    pad = _padding(cfg, layer)
    passes: list[Pass] = []
    vectors: list[Ints] = []
    _add_pass(cfg, AluOp.ADD, bias, pad[0] if pad else None, passes, vectors)
    _add_pass(cfg, AluOp.SHR, shift, pad[1] if pad else None, passes, vectors)
    if int(low.min()) < layer.low:
        passes.append(Pass(AluOp.MAX, imm=layer.low))
    if int(high.max()) > layer.high:
        passes.append(Pass(AluOp.MIN, imm=layer.high))
    blocks = -(-len(bias) // cfg.block_out)
    tiles = [tile_channels(vector, cfg.batch, cfg.block_out)[:blocks] for vector in vectors]
    stacked = np.stack(tiles) if tiles else np.zeros((0, blocks, cfg.batch, cfg.block_out), np.int64)
    return Requantization(tuple(passes), stacked)


def _padding(cfg: VTAConfig, layer: IntLayer) -> tuple[int, int] | None:
    """Bias and shift that make padded output channels 0, where their weights cannot be.

    A 1-bit weight is +1 or -1, never 0, so the next layer needs its padded input channels to be 0: half the
    accumulator's range is added, then everything but the sign is shifted out.
    """
    if cfg.wgt_width > 1 or layer.op != "conv" or layer.weight.shape[0] % cfg.block_out == 0:
        return None
    tensor = layer.inputs[0]
    reach = layer.weight[0].size * max(abs(tensor.low), abs(tensor.high)) + 1
    offset = 1 << (cfg.acc_width - 2)
    if reach >= offset or layer.low > 0 or layer.high < 0:
        raise NotLowerableError("its padded output channels cannot be made 0 with 1-bit weights")
    return offset, cfg.acc_width - 1


def _add_pass(
    cfg: VTAConfig, op: AluOp, values: Ints, pad: int | None, passes: list[Pass], vectors: list[Ints]
) -> None:
    """An immediate pass when all channels share a value that fits, else a vector pass; none for 0."""
    same = bool(np.all(values == values[0])) and pad is None
    imm = insn_fields(cfg, Opcode.ALU)["imm"]
    if same and values[0] == 0:
        return
    if same and imm.min <= values[0] <= imm.max:
        passes.append(Pass(op, imm=int(values[0])))
        return
    if pad is not None:
        values = np.concatenate([values, np.full(-len(values) % cfg.block_out, pad, np.int64)])
    passes.append(Pass(op, vector=len(vectors)))
    vectors.append(values)
