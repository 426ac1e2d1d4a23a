"""Accumulator banks of the instructions of a finished stream, whose micro-ops are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, decode_uops
from vta_arch.isa import Memory, Opcode

from .compute_unit import WORK

ReadUops = Callable[[int, int], NDArray[np.uint32]]
"""From a first element of the micro-ops in DRAM, and a number of elements, to their words."""


@dataclass
class Banks:
    """``declared``: the one bank that an instruction says it stays in (LOAD ACC: does), else None.

    ``across``: whether it reads both banks, at twice the speed of an ALU instruction with two operands in one.
    """

    declared: list[int | None] = field(default_factory=list)
    across: list[bool] = field(default_factory=list)


def find_banks(cfg: VTAConfig, insns: Sequence[Insn], read: ReadUops) -> Banks:
    """The banks of all instructions of a stream."""
    memory = np.zeros((cfg.uop_depth, 3), np.int64)
    shift = cfg.log_acc_depth - 1
    banks = Banks()
    for insn in insns:
        get = insn.fields.get
        bank, across = None, False
        if insn.opcode == Opcode.LOAD and get("memory_type") == Memory.UOP:
            first, count = get("sram_base", 0), get("x_size", 0) * get("y_size", 0)
            if count:
                memory[(first + np.arange(count)) % cfg.uop_depth] = decode_uops(cfg, read(get("dram_base", 0), count))
        elif insn.opcode == Opcode.LOAD and get("memory_type") in (Memory.ACC, Memory.ACC_8BIT):
            first, last = get("sram_base", 0), get("sram_base", 0) + get("x_size", 0) * get("y_size", 0) - 1
            bank = first >> shift if first >> shift == last >> shift else None
        elif insn.opcode in WORK:
            dst, src, _ = memory[get("uop_bgn", 0) % cfg.uop_depth] >> shift & 1
            bank = int(dst) if get("one_bank", 0) else None
            across = insn.opcode == Opcode.ALU and not get("use_imm", 0) and dst != src
        banks.declared.append(bank)
        banks.across.append(bool(across))
    return banks
