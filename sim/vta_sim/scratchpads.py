"""Scratchpads of the functional device, and LOAD and STORE between them and DRAM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, loadable, memory_elem_bytes, sram_depth
from vta_arch.layout import pack_bits, unpack_bits, unpack_weight_bits
from vta_arch.registers import Errors

from .requantizer import PARAM_ROWS, Params, prepare, requantize
from .sparse_memory import SparseMemory

Bytes = NDArray[np.uint8]
AnyArray = NDArray[Any]
Accumulators = NDArray[Any]
Step = Callable[[], int]
"""An instruction, bound to the device: it can be run any number of times, and returns its sticky errors."""


WORKSPACE = 1 << 18
"""Elements of an intermediate result: small enough for a processor's cache."""


class Workspace:
    """Buffers that the products of all instructions share, each of WORKSPACE elements."""

    def __init__(self) -> None:
        self.left, self.turned, self.right, self.product = np.empty((4, WORKSPACE), dtype=np.float32)
        self.sums, self.picked = np.empty((2, WORKSPACE), dtype=np.int32)


class Scratchpads:
    """The on-chip memories, decoded: one row an element.

    ``uop`` [depth] uint32; ``inp`` [depth, batch, block_in] float32; ``wgt`` [depth, block_out,
    block_in] float32 (float32 holds every operand exactly and feeds BLAS), a view of ``tiles`` [depth,
    block_in, block_out], as products take them; ``acc`` [depth, batch * block_out] int32 or int16, so
    that sums wrap at the accumulator width by themselves; ``req`` [depth, PARAM_ROWS, block_out] int64,
    prepared for :func:`requantize`.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self.cfg = cfg
        self.workspace = Workspace()
        self.uop = np.zeros(cfg.uop_depth, dtype=np.uint32)
        self.inp = np.zeros((cfg.inp_depth, cfg.batch, cfg.block_in), dtype=np.float32)
        zero_bits = -1.0 if cfg.wgt_width == 1 else 0.0
        self.tiles = np.full((cfg.wgt_depth, cfg.block_in, cfg.block_out), zero_bits, dtype=np.float32)
        self.wgt = self.tiles.transpose(0, 2, 1)
        shape = (cfg.acc_depth, cfg.batch * cfg.block_out)
        self.acc: Accumulators = np.zeros(shape, dtype=np.int16 if cfg.acc_width == 16 else np.int32)
        self.req: Params = np.zeros((cfg.req_depth, PARAM_ROWS, cfg.block_out), dtype=np.int64)

    def target(self, memory: Memory) -> AnyArray:
        """The array that a LOAD of ``memory`` fills."""
        arrays: dict[Memory, AnyArray]
        arrays = {Memory.UOP: self.uop, Memory.INP: self.inp, Memory.WGT: self.wgt, Memory.REQ: self.req}
        return arrays.get(memory, self.acc)

    def decoder(self, memory: Memory) -> Callable[[Bytes], AnyArray]:
        """What turns DRAM bytes of ``memory`` into lanes, in order; of any shape."""
        cfg, kind = self.cfg, "<u4"
        if memory is Memory.REQ:
            return partial(prepare, block_out=cfg.block_out, acc_width=cfg.acc_width)
        if memory in (Memory.INP, Memory.WGT):
            width = cfg.inp_width if memory is Memory.INP else cfg.wgt_width
            if width < 8:
                table = self._byte_table(memory).astype(np.float32)
                return lambda raw: table[raw]
            kind = "i1" if memory is Memory.WGT or cfg.inp_is_signed else "u1"
        elif memory is not Memory.UOP:
            kind = "i1" if memory is Memory.ACC_8BIT else f"<i{cfg.acc_width // 8}"
        dtype = np.dtype(kind)
        return lambda raw: raw.view(dtype)

    def _byte_table(self, memory: Memory) -> NDArray[np.int32]:
        """[256, lanes]: what each byte of packed inputs or weights holds."""
        cfg, values = self.cfg, np.arange(256, dtype=np.uint8)
        if memory is Memory.WGT:
            return unpack_weight_bits(values, cfg.wgt_width).reshape(256, -1)
        return unpack_bits(values, cfg.inp_width, signed=cfg.inp_is_signed).reshape(256, -1)

    def padding(self, insn: Insn) -> float:
        """The value of the elements that a LOAD pads with."""
        memory, value = insn["memory_type"], insn.fields.get("pad_value", 0)
        if memory in (Memory.INP, Memory.WGT):
            lanes = self.decoder(Memory(memory))(np.array([value & 0xFF], dtype=np.uint8))
            return float(lanes.reshape(-1)[0])
        return value if memory in (Memory.ACC, Memory.ACC_8BIT) else 0


def bind_load(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> Step | None:
    """What a LOAD does, ready to run many times; None for nothing."""
    if insn["memory_type"] not in loadable(pads.cfg):
        return partial(int, Errors.UNKNOWN_MEMORY)
    x, y = insn["x_size"], insn["y_size"]
    if x == 0 or y == 0:
        return None
    memory = Memory(insn["memory_type"])
    rows = insn["y_pad_0"] + y + insn["y_pad_1"]
    length = insn["x_pad_0"] + x + insn["x_pad_1"]
    base, size = insn["sram_base"], memory_elem_bytes(pads.cfg, memory)
    if base + rows * length > sram_depth(pads.cfg, memory):
        return partial(_load_wrapping, pads, dram, bases, insn)
    target, value = pads.target(memory), pads.padding(insn)
    window = target[base : base + rows * length]
    top, left = insn["y_pad_0"], insn["x_pad_0"]
    inner = window.reshape(rows, length, *target.shape[1:])[top : top + y, left : left + x]
    padded, decode = rows * length != x * y, pads.decoder(memory)
    where = (bases[memory] + insn["dram_base"] * size, y, x * size, insn["x_stride"] * size)

    def step() -> int:
        if padded:
            window.fill(value)
        inner[...] = decode(dram.read_rows(*where)).reshape(inner.shape)
        return 0

    return step


def _load_wrapping(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> int:
    """A LOAD past the memory's end: row by row, without the rows that it overwrites itself."""
    memory = Memory(insn["memory_type"])
    size, depth = memory_elem_bytes(pads.cfg, memory), sram_depth(pads.cfg, memory)
    x, y, left = insn["x_size"], insn["y_size"], insn["x_pad_0"]
    rows = insn["y_pad_0"] + y + insn["y_pad_1"]
    length = left + x + insn["x_pad_1"]
    target, decode, padding = pads.target(memory), pads.decoder(memory), pads.padding(insn)
    for row in range(max(0, rows - -(-depth // length) - 1), rows):
        line = np.full((length, *target.shape[1:]), padding, dtype=target.dtype)
        source = row - insn["y_pad_0"]
        if 0 <= source < y:
            address = bases[memory] + (insn["dram_base"] + source * insn["x_stride"]) * size
            line[left : left + x] = decode(dram.read(address, x * size)).reshape(x, *target.shape[1:])
        keep = min(length, depth)
        first = insn["sram_base"] + row * length + length - keep
        target[(first + np.arange(keep)) % depth] = line[length - keep :]
    return int(Errors.INDEX_RANGE)


def bind_store(pads: Scratchpads, dram: SparseMemory, bases: Mapping[Memory, int], insn: Insn) -> Step | None:
    """What a STORE does (the low bits of the accumulators, packed), ready to run many times; None for nothing."""
    cfg = pads.cfg
    x, y = insn["x_size"], insn["y_size"]
    if x == 0 or y == 0:
        return None
    base, depth, size = insn["sram_base"], cfg.acc_depth, cfg.out_elem_bytes
    address, stride = bases[Memory.OUT] + insn["dram_base"] * size, insn["x_stride"] * size
    if base + x * y > depth:
        return partial(_store_wrapping, pads, dram, address, insn)
    acc = pads.acc[base : base + x * y].reshape(y, x, -1)
    requantized = insn.fields.get("requant", 0)
    sets = _parameter_sets(insn, np.arange(y)) if requantized else np.zeros(1, dtype=np.int64)
    errors = int(Errors.INDEX_RANGE) if int(sets.max()) >= cfg.req_depth else 0

    def step() -> int:
        # The parameters are looked at each time: another LOAD may have replaced them.
        values = requantize(acc, pads.req[sets % cfg.req_depth, None]) if requantized else acc
        dram.write_rows(address, _pack(pads, values).reshape(y, x * size), stride)
        return errors

    return step


def _parameter_sets(insn: Insn, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The requantization parameters of ``rows`` of a STORE, not wrapped; one index if all rows have the same."""
    return insn["req_index"] + rows if insn["req_rows"] else np.array([insn["req_index"]])


def _store_wrapping(pads: Scratchpads, dram: SparseMemory, address: int, insn: Insn) -> int:
    """A STORE past the accumulators' end: row by row."""
    cfg, x = pads.cfg, insn["x_size"]
    for row in range(insn["y_size"]):
        values: AnyArray = pads.acc[(insn["sram_base"] + row * x + np.arange(x)) % cfg.acc_depth]
        if insn.fields.get("requant", 0):
            sets = _parameter_sets(insn, np.array([row]))
            values = requantize(values, pads.req[sets % cfg.req_depth])
        dram.write(address + row * insn["x_stride"] * cfg.out_elem_bytes, _pack(pads, values))
    return int(Errors.INDEX_RANGE)


def _pack(pads: Scratchpads, values: AnyArray) -> Bytes:
    if pads.cfg.inp_width == 8:
        return values.astype(np.int8).view(np.uint8).reshape(-1)
    return pack_bits(values, pads.cfg.inp_width)
