"""The codes of the instruction set: opcodes, memory types, ALU operations; which ones a configuration knows."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from .config import VTAConfig


class Opcode(IntEnum):
    LOAD = 0
    STORE = 1
    GEMM = 2
    FINISH = 3
    ALU = 4
    DEPTHWISE = 5
    """Extension ``depthwise``."""


class Memory(IntEnum):
    """Memory types of LOAD and STORE."""

    UOP = 0
    WGT = 1
    INP = 2
    ACC = 3
    OUT = 4
    ACC_8BIT = 5
    REQ = 6
    """Requantization parameters (extension ``requant``)."""


class AluOp(IntEnum):
    MIN = 0
    MAX = 1
    ADD = 2
    SHR = 3
    MUL = 4
    REQ = 5
    """Requantize (extension ``requant``)."""


class Unit(IntEnum):
    """Units that an instruction is dispatched to."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2


_OPCODE_EXTENSIONS = {Opcode.DEPTHWISE: "depthwise"}
_MEMORY_EXTENSIONS = {Memory.REQ: "requant"}
_ALU_EXTENSIONS = {AluOp.REQ: "requant"}


@lru_cache(maxsize=256)
def opcodes(cfg: VTAConfig) -> tuple[Opcode, ...]:
    """Opcodes that the configuration knows; any other one is dropped with its tokens."""
    return tuple(op for op in Opcode if _OPCODE_EXTENSIONS.get(op, "") in ("", *cfg.extensions))


@lru_cache(maxsize=256)
def alu_ops(cfg: VTAConfig) -> tuple[AluOp, ...]:
    """ALU operations that the configuration knows; of any other one only the tokens count."""
    return tuple(op for op in AluOp if _ALU_EXTENSIONS.get(op, "") in ("", *cfg.extensions))


@lru_cache(maxsize=256)
def loadable(cfg: VTAConfig) -> tuple[Memory, ...]:
    """Memory types that LOAD fills; of any other one only the tokens count."""
    return tuple(m for m in Memory if m is not Memory.OUT and _MEMORY_EXTENSIONS.get(m, "") in ("", *cfg.extensions))


@lru_cache(maxsize=256)
def memory_elem_bytes(cfg: VTAConfig, memory: Memory) -> int:
    """Bytes of one DRAM element of ``memory``."""
    sizes = {
        Memory.UOP: cfg.uop_elem_bytes,
        Memory.WGT: cfg.wgt_elem_bytes,
        Memory.INP: cfg.inp_elem_bytes,
        Memory.ACC: cfg.acc_elem_bytes,
        Memory.OUT: cfg.out_elem_bytes,
        Memory.ACC_8BIT: cfg.acc8_elem_bytes,
        Memory.REQ: cfg.req_elem_bytes,
    }
    return sizes[memory]


LOAD_UNIT_MEMORIES = (Memory.INP, Memory.WGT)
"""Memory types whose LOAD runs in the load unit; every other LOAD runs in the compute unit."""


def sram_depth(cfg: VTAConfig, memory: Memory) -> int:
    """Elements in the scratchpad that ``memory`` fills (OUT: the accumulators that STORE sends)."""
    depths = {
        Memory.UOP: cfg.uop_depth,
        Memory.WGT: cfg.wgt_depth,
        Memory.INP: cfg.inp_depth,
        Memory.REQ: cfg.req_depth,
    }
    return depths.get(memory, cfg.acc_depth)
