"""Scratchpads of the functional device, and LOAD and STORE between them and DRAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import LOADABLE, Memory, memory_elem_bytes, sram_depth
from vta_arch.layout import pack_bits, unpack_bits, unpack_weight_bits
from vta_arch.registers import Errors

from .sparse_memory import SparseMemory

Bytes = NDArray[np.uint8]
AnyArray = NDArray[Any]
Accumulators = NDArray[Any]


class Scratchpads:
    """The on-chip memories, decoded: one row an element.

    ``uop`` [depth] uint32; ``inp`` [depth, batch, block_in] float32; ``wgt`` [depth, block_out,
    block_in] float32 (float32 holds every operand exactly and feeds BLAS); ``acc`` [depth,
    batch * block_out] int32 or int16, so that sums wrap at the accumulator width by themselves.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self.cfg = cfg
        self.zero_weight = -1.0 if cfg.wgt_width == 1 else 0.0
        self.uop = np.zeros(cfg.uop_depth, dtype=np.uint32)
        self.inp = np.zeros((cfg.inp_depth, cfg.batch, cfg.block_in), dtype=np.float32)
        self.wgt = np.full((cfg.wgt_depth, cfg.block_out, cfg.block_in), self.zero_weight, dtype=np.float32)
        shape = (cfg.acc_depth, cfg.batch * cfg.block_out)
        self.acc: Accumulators = np.zeros(shape, dtype=np.int16 if cfg.acc_width == 16 else np.int32)

    def target(self, memory: Memory) -> AnyArray:
        """The array that a LOAD of ``memory`` fills."""
        return {Memory.UOP: self.uop, Memory.INP: self.inp, Memory.WGT: self.wgt}.get(memory, self.acc)

    def decode(self, memory: Memory, raw: Bytes) -> AnyArray:
        """Elements [rows, n, ...] of the scratchpad from DRAM bytes [rows, n * element bytes]."""
        cfg, rows = self.cfg, raw.shape[0]
        if memory is Memory.UOP:
            return raw.view("<u4")
        shape = (rows, -1, *self.target(memory).shape[1:])
        if memory is Memory.INP:
            if cfg.inp_width == 8:
                return (raw.view(np.int8) if cfg.inp_is_signed else raw).reshape(shape)
            return unpack_bits(raw, cfg.inp_width, signed=cfg.inp_is_signed).reshape(shape)
        if memory is Memory.WGT:
            if cfg.wgt_width == 8:
                return raw.view(np.int8).reshape(shape)
            return unpack_weight_bits(raw, cfg.wgt_width).reshape(shape)
        width = 8 if memory is Memory.ACC_8BIT else cfg.acc_width
        return raw.view(f"<i{width // 8}").reshape(shape)

    def pad_value(self, memory: Memory) -> float:
        """The value that zero bits stand for."""
        return self.zero_weight if memory is Memory.WGT else 0.0


def execute_load(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> Errors:
    """Run one LOAD. Returns its sticky errors."""
    if insn["memory_type"] not in LOADABLE:
        return Errors.UNKNOWN_MEMORY
    x, y = insn["x_size"], insn["y_size"]
    if x == 0 or y == 0:
        return Errors(0)
    memory = Memory(insn["memory_type"])
    rows = insn["y_pad_0"] + y + insn["y_pad_1"]
    length = insn["x_pad_0"] + x + insn["x_pad_1"]
    base, depth = insn["sram_base"], sram_depth(pads.cfg, memory)
    if base + rows * length > depth:
        _load_wrapping(pads, dram, bases, insn)
        return Errors.INDEX_RANGE
    size = memory_elem_bytes(pads.cfg, memory)
    address = bases[memory] + insn["dram_base"] * size
    target = pads.target(memory)
    view = target[base : base + rows * length].reshape(rows, length, *target.shape[1:])
    if rows * length != x * y:
        view[...] = pads.pad_value(memory)
    raw = dram.read_rows(address, y, x * size, insn["x_stride"] * size)
    top, left = insn["y_pad_0"], insn["x_pad_0"]
    view[top : top + y, left : left + x] = pads.decode(memory, raw)
    return Errors(0)


def _load_wrapping(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> None:
    """A LOAD past the memory's end: row by row, without the rows that it overwrites itself."""
    memory = Memory(insn["memory_type"])
    size, depth = memory_elem_bytes(pads.cfg, memory), sram_depth(pads.cfg, memory)
    x, y, left = insn["x_size"], insn["y_size"], insn["x_pad_0"]
    rows = insn["y_pad_0"] + y + insn["y_pad_1"]
    length = left + x + insn["x_pad_1"]
    target = pads.target(memory)
    for row in range(max(0, rows - -(-depth // length) - 1), rows):
        line = np.full((length, *target.shape[1:]), pads.pad_value(memory), dtype=target.dtype)
        source = row - insn["y_pad_0"]
        if 0 <= source < y:
            address = bases[memory] + (insn["dram_base"] + source * insn["x_stride"]) * size
            line[left : left + x] = pads.decode(memory, dram.read(address, x * size).reshape(1, -1))[0]
        keep = min(length, depth)
        first = insn["sram_base"] + row * length + length - keep
        target[(first + np.arange(keep)) % depth] = line[length - keep :]


def execute_store(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> Errors:
    """Run one STORE: the low bits of the accumulators, packed. Returns its sticky errors."""
    cfg = pads.cfg
    x, y = insn["x_size"], insn["y_size"]
    if x == 0 or y == 0:
        return Errors(0)
    base, depth, size = insn["sram_base"], cfg.acc_depth, cfg.out_elem_bytes
    address, stride = bases[Memory.OUT] + insn["dram_base"] * size, insn["x_stride"] * size
    if base + x * y <= depth:
        packed = _pack(pads, pads.acc[base : base + x * y])
        dram.write_rows(address, packed.reshape(y, x * size), stride)
        return Errors(0)
    for row in range(y):
        indices = (base + row * x + np.arange(x)) % depth
        dram.write(address + row * stride, _pack(pads, pads.acc[indices]))
    return Errors.INDEX_RANGE


def _pack(pads: Scratchpads, acc: NDArray[np.signedinteger]) -> Bytes:
    if pads.cfg.inp_width == 8:
        return acc.astype(np.int8).view(np.uint8).reshape(-1)
    return pack_bits(acc, pads.cfg.inp_width)
