"""Requantization by ALU passes or while storing, and the proof that no accumulator overflows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import REQ_CHANNEL_BYTES, VTAConfig
from vta_arch.isa import AluOp, Opcode, insn_fields
from vta_arch.layout import ceil_div, pack_bits, tile_channels
from vta_arch.requant import RequantParams

from ..graph.types import IntLayer, Ints
from .errors import NotLowerableError


@dataclass(frozen=True)
class Pass:
    """One ALU pass: with an immediate, or (``vector`` >= 0) with a constant vector per output block."""

    op: AluOp
    imm: int = 0
    vector: int = -1

    @property
    def cycles(self) -> int:
        """Cycles per accumulator vector: one for each operand in memory."""
        return 1 if self.vector < 0 else 2


@dataclass(frozen=True)
class Requantization:
    """What turns accumulators into outputs: passes and their constants, or ``params`` with which STORE does it all.

    ``start`` sets accumulators that are zero or hold older results of this layer to the bias; without it they must be
    reset, or overwritten by the first product (``overwrite``). ``vectors``: int64 [number, output blocks, batch,
    block_out]. ``params``: uint8 [output blocks, bytes], one vector for all blocks, or none.
    """

    passes: tuple[Pass, ...]
    vectors: NDArray[np.int64]
    start: Pass | None = None
    overwrite: bool = False
    params: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    @property
    def cycles(self) -> int:
        """Cycles per accumulator vector that are no products: reset or start values, and ALU passes."""
        before = int(not self.overwrite) if self.start is None else self.start.cycles
        return before + sum(item.cycles for item in self.passes)

    def packed(self, cfg: VTAConfig) -> bytes:
        """The constants as accumulator elements, number by number."""
        return pack_bits(self.vectors, cfg.acc_width).tobytes()


def conv_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest accumulator of each output channel, before the bias."""
    tensor = layer.inputs[0]
    low, high = min(tensor.low, layer.pad_value, 0), max(tensor.high, layer.pad_value, 0)
    flat = layer.weight.reshape(layer.weight.shape[0], -1)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    return positive * low + negative * high, positive * high + negative * low


def add_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest sum of an add's inputs times their factors, partial sums included; arrays of one element."""
    low = sum(min(t.low, 0) * factor for t, factor in zip(layer.inputs, layer.factors, strict=True))
    high = sum(max(t.high, 0) * factor for t, factor in zip(layer.inputs, layer.factors, strict=True))
    return np.array([low]), np.array([high])


def copy_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest sum of a layer that copies values, or scales them by its factors; arrays of one element."""
    low = min(layer.pad_value, *(tensor.low for tensor in layer.inputs))
    high = max(layer.pad_value, *(tensor.high for tensor in layer.inputs))
    if layer.op != "rectify":
        return np.array([low]), np.array([high])
    upper, whole = layer.factors
    ends = [max(x, layer.floor) * upper + x * whole for x in (low, high, layer.floor)]
    return np.array([min(ends)]), np.array([max(ends)])


def sum_bounds(layer: IntLayer) -> tuple[Ints, Ints]:
    """Least and greatest accumulator of a layer, before the bias: of each channel, or arrays of one element."""
    return {"add": add_bounds, "conv": conv_bounds, "conv_transpose": conv_bounds}.get(layer.op, copy_bounds)(layer)


def drop_dead_channels(cfg: VTAConfig, layer: IntLayer) -> IntLayer:
    """Channels of a convolution whose outputs are always 0 become zero weights.

    Raises NotLowerableError when another channel's shift is too large for the accumulators.
    """
    if layer.requant is not None:
        return layer
    dead = np.zeros(len(layer.shift), bool)
    if layer.is_weighted and cfg.wgt_width > 1:
        shift = np.clip(layer.shift, 1, 62)
        half = layer.bias + (np.int64(1) << (shift - 1))
        low, high = (np.clip((side + half) >> shift, layer.low, layer.high) for side in conv_bounds(layer))
        dead = (layer.shift > 0) & (low == 0) & (high == 0)
    if np.any((layer.shift > cfg.acc_width - 2) & ~dead):
        raise NotLowerableError(f"a shift of {layer.shift.max()} is too large for {cfg.acc_width}-bit accumulators")
    if not dead.any():
        return layer
    weight, bias, shift = layer.weight.copy(), layer.bias.copy(), layer.shift.copy()
    weight[dead], bias[dead], shift[dead] = 0, 0, 1  # any shift makes 0 of 0; 1 lets a start value be used
    return replace(layer, weight=weight, bias=bias, shift=shift)


def check_range(cfg: VTAConfig, low: Ints, high: Ints, what: str) -> None:
    """Raises NotLowerableError when a value from ``low`` to ``high`` does not fit an accumulator."""
    least, most = int(low.min()), int(high.max())
    if least < cfg.acc_min or most > cfg.acc_max:
        raise NotLowerableError(
            f"{what} can reach {least if -least > most else most}, beyond the {cfg.acc_width}-bit accumulator"
        )


def plan_requantization(cfg: VTAConfig, layer: IntLayer) -> Requantization:
    """Passes for bias, shift and clip of a layer, or the parameters of its STOREs.

    Raises NotLowerableError when an accumulator could overflow.
    """
    low, high = sum_bounds(layer)
    check_range(cfg, low, high, "a sum")
    return _plan_passes(cfg, layer, low, high) if layer.requant is None else plan_store(cfg, layer.requant)


def _plan_passes(cfg: VTAConfig, layer: IntLayer, low: Ints, high: Ints) -> Requantization:
    """Passes for sums from ``low`` to ``high`` of each channel."""
    channels = layer.own_channels or max(cfg.block_in, cfg.block_out)
    bias = layer.bias if layer.own_channels else np.full(channels, layer.bias.sum(), np.int64)
    shift = np.broadcast_to(layer.shift, (channels,))
    if np.abs(shift).max() > cfg.acc_width - 1:
        raise NotLowerableError(f"a shift of {shift.min()} is too large for {cfg.acc_width}-bit accumulators")
    bias = bias + np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    low, high = low + bias, high + bias
    check_range(cfg, low, high, "a sum with its bias")
    left, right = np.maximum(-shift, 0), np.maximum(shift, 0)
    if np.any(np.abs(low) > cfg.acc_max >> left) or np.any(np.abs(high) > cfg.acc_max >> left):
        raise NotLowerableError(f"a sum shifted left by {left.max()} leaves the {cfg.acc_width}-bit accumulator")
    low, high = (low << left) >> right, (high << left) >> right
    pad = _padding(cfg, layer)
    passes: list[Pass] = []
    vectors: list[Ints] = []
    overwrite = overlaps(cfg)
    offset = 0 if pad or overwrite else _start_offset(cfg, layer, bias, shift)
    start: Pass | None = None
    if offset:
        _add_pass(cfg, AluOp.MAX, bias + (offset << right), offset << int(right[-1]), passes, vectors)
        start = passes.pop()
    else:
        _add_pass(cfg, AluOp.ADD, bias, pad[0] if pad else None, passes, vectors)
    shift_pad = pad[1] if pad else int(shift[-1]) if offset else None
    _add_pass(cfg, AluOp.SHR, shift, shift_pad, passes, vectors)
    if int(low.min()) < layer.low:
        passes.append(Pass(AluOp.MAX, imm=layer.low + offset))
    if int(high.max()) > layer.high:
        passes.append(Pass(AluOp.MIN, imm=layer.high + offset))
    blocks = -(-len(bias) // cfg.block_out)
    tiles = [tile_channels(vector, cfg.batch, cfg.block_out)[:blocks] for vector in vectors]
    stacked = np.stack(tiles) if tiles else np.zeros((0, blocks, cfg.batch, cfg.block_out), np.int64)
    return Requantization(tuple(passes), stacked, start, overwrite)


def plan_store(cfg: VTAConfig, requant: RequantParams) -> Requantization:
    """STORE does all; padded channels become 0. Where all blocks have the same parameters one vector serves them.

    An add has one set of parameters, which all its channels share.
    """
    packed = requant.pack()
    if len(packed) == 1:
        packed = np.repeat(packed, cfg.block_out, axis=0)
    blocks = ceil_div(len(packed), cfg.block_out)
    params = np.zeros((blocks * cfg.block_out, REQ_CHANNEL_BYTES), np.uint8)
    params[: len(packed)] = packed
    vectors = np.zeros((0, blocks, cfg.batch, cfg.block_out), np.int64)
    by_block = params.reshape(blocks, cfg.req_elem_bytes)
    if np.all(by_block == by_block[:1]):
        by_block = by_block[:1]
    return Requantization((), vectors, None, overlaps(cfg), by_block)


def overlaps(cfg: VTAConfig) -> bool:
    """Whether products and ALU passes run side by side, in different banks of the accumulators."""
    return "one_bank" in insn_fields(cfg, Opcode.GEMM)


def _start_offset(cfg: VTAConfig, layer: IntLayer, bias: Ints, shift: Ints) -> int:
    """What is added to all outputs so that one MAX can set the accumulators to their bias; 0 when that cannot be.

    An output is in [low, high], so older outputs in the accumulators are at most high + offset, and MAX with a larger
    bias replaces them: no reset, and no addition. An offset of a multiple of 2**inp_width changes nothing, because
    STORE sends the low bits only; before the shift it is offset << shift, which is larger where a shift is positive.
    """
    rescaled = layer.op == "add" and max(layer.factors) > cfg.wgt_max  # its lowering shifts a part of the sum
    chained = layer.op in ("maxpool", "rectify")  # a pass comes before the last products
    if rescaled or chained or np.any(shift < 1):
        return 0
    step = 1 << cfg.inp_width
    gain = step * ((np.int64(1) << shift) - 1)
    offset = step * max(1, int(np.max(-((bias - layer.high) // gain))))
    imm = insn_fields(cfg, Opcode.ALU)["imm"]
    low, high = sum_bounds(layer)
    added = bias + (np.int64(offset) << shift)
    fits = layer.high + offset <= imm.max and int(added.max()) <= cfg.acc_max
    fits = fits and int((high + added).max()) <= cfg.acc_max and int((low + added).min()) >= cfg.acc_min
    return offset if fits and int(added.min()) >= max(0, layer.high + offset) else 0


def _padding(cfg: VTAConfig, layer: IntLayer) -> tuple[int, int] | None:
    """Bias and shift that make padded output channels 0, where their weights cannot be.

    A 1-bit weight is +1 or -1, never 0, so the next layer needs its padded input channels to be 0: half the
    accumulator's range is added, then everything but the sign is shifted out.
    """
    if cfg.wgt_width > 1 or not layer.is_weighted or layer.weight.shape[0] % cfg.block_out == 0:
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
    """An immediate pass when all channels share a value that fits, else a vector pass; none for adding 0.

    Padded output channels get ``pad``; None: whatever is least work.
    """
    if pad is not None:
        values = np.concatenate([values, np.full(-len(values) % cfg.block_out, pad, np.int64)])
    same = bool(np.all(values == values[0]))
    imm = insn_fields(cfg, Opcode.ALU)["imm"]
    if same and values[0] == 0 and op != AluOp.MAX:
        return
    if same and imm.min <= values[0] <= imm.max:
        passes.append(Pass(op, imm=int(values[0])))
        return
    passes.append(Pass(op, vector=len(vectors)))
    vectors.append(values)
