"""Cycles of a slice: three units that run their instructions in order and meet at tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, Opcode, Unit, memory_elem_bytes

from .stream import QUEUES

# Measured on the RTL with a memory of 40 cycles' latency, as the slope over equal instructions in a row.
TRANSFER_START = 46
"""Cycles that a LOAD or STORE takes besides its data; one at a time in its unit."""
TOKEN_CYCLES = 3
"""Cycles of a LOAD that moves nothing."""
GEMM_START = 11
"""Cycles that a GEMM takes besides its steps: issue, and the pipeline drains."""
ALU_START = 9
"""Cycles that an ALU instruction takes besides its steps."""
ALU_VECTOR_START = 13
"""The same with two operands from memory; each step takes 2 cycles."""
INSN_COST = 8
"""Cycles that an instruction should save to be worth its 16 bytes."""


def element_cycles(cfg: VTAConfig, memory: Memory) -> int:
    """Cycles that one element of a transfer takes: as many as its bus words, at least one."""
    return max(1, memory_elem_bytes(cfg, memory) * 8 // cfg.axi_data_width)


def _transfer(cfg: VTAConfig, insn: Insn) -> int:
    get = insn.fields.get
    memory = Memory.OUT if insn.opcode == Opcode.STORE else Memory(get("memory_type", 0))
    data = get("x_size", 0) * get("y_size", 0)
    if not data:
        return TOKEN_CYCLES
    rows = get("y_pad_0", 0) + get("y_size", 0) + get("y_pad_1", 0)
    total = rows * (get("x_pad_0", 0) + get("x_size", 0) + get("x_pad_1", 0))
    return TRANSFER_START + data * element_cycles(cfg, memory) + total - data


def insn_cycles(cfg: VTAConfig, insn: Insn) -> int:
    """Cycles that an instruction occupies its unit."""
    if insn.opcode in (Opcode.LOAD, Opcode.STORE):
        return _transfer(cfg, insn)
    get = insn.fields.get
    steps = get("iter_out", 0) * get("iter_in", 0) * (get("uop_end", 0) - get("uop_bgn", 0))
    if insn.opcode == Opcode.GEMM:
        return steps + GEMM_START
    if insn.opcode == Opcode.ALU:
        return steps + ALU_START if get("use_imm", 0) else 2 * steps + ALU_VECTOR_START
    return TOKEN_CYCLES


def slice_cycles(cfg: VTAConfig, insns: Iterable[Insn]) -> int:
    """Cycles of a slice that runs alone. Its pops must follow their pushes in program order."""
    free = dict.fromkeys(Unit, 0)
    tokens: dict[tuple[Unit, Unit], deque[int]] = {queue: deque() for queue in QUEUES}
    for insn in insns:
        unit = insn.unit
        time = free[unit]
        for queue, (_, pop) in QUEUES.items():
            if queue[1] == unit and insn.fields.get(pop, 0):
                time = max(time, tokens[queue].popleft())
        time += insn_cycles(cfg, insn)
        free[unit] = time
        for queue, (push, _) in QUEUES.items():
            if queue[0] == unit and insn.fields.get(push, 0):
                tokens[queue].append(time)
    return max(free.values())


def trial_cost(cfg: VTAConfig, insns: list[Insn]) -> int:
    """What tilings are compared by: cycles, and a little for each instruction, which must be fetched and held."""
    return slice_cycles(cfg, insns) + INSN_COST * len(insns)
