"""Cycles of a slice: three units that run their instructions in order and meet at tokens.

With the extension ``overlap`` the compute unit issues in order to engines that work side by side (see _Compute).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import AluOp, Memory, Opcode, Unit, memory_elem_bytes

from .requantize import overlaps
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
ALU_REQ_START = 26
"""The same of the operation REQ, whose pipeline is longer."""
MUL_CYCLES = 3
"""Cycles of a step of MUL."""
ISSUE_CYCLES = 2
"""With overlap: cycles from one issue to the next."""
DRAIN_CYCLES = 9
"""With overlap: cycles from the last step of a GEMM to its last write; the next GEMM does not wait for it."""
PRODUCTS = (Opcode.GEMM, Opcode.DEPTHWISE)
"""Instructions of the array: a step a cycle."""
INSN_COST = 8
"""Cycles that an instruction should save to be worth its 16 bytes."""


def element_cycles(cfg: VTAConfig, memory: Memory) -> int:
    """Cycles that one element of a transfer takes: as many as its bus words, at least one."""
    if memory == Memory.OUT:
        return max(1, int(store_cycles(cfg)))
    return max(1, memory_elem_bytes(cfg, memory) * 8 // cfg.axi_data_width)


def requant_cycles(cfg: VTAConfig) -> float:
    """Cycles that the requantizer takes for a vector, of STORE or of the ALU operation."""
    return cfg.batch * cfg.block_out / cfg.requant_width


def store_cycles(cfg: VTAConfig) -> float:
    """Cycles that STORE takes for a vector on average: its bus words, or the requantizer's steps."""
    bus = cfg.out_elem_bytes * 8 / cfg.axi_data_width
    return max(bus, requant_cycles(cfg)) if "requant" in cfg.extensions else bus


def _transfer(cfg: VTAConfig, insn: Insn) -> int:
    get = insn.fields.get
    memory = Memory.OUT if insn.opcode == Opcode.STORE else Memory(get("memory_type", 0))
    data = get("x_size", 0) * get("y_size", 0)
    if not data:
        return TOKEN_CYCLES
    rows = get("y_pad_0", 0) + get("y_size", 0) + get("y_pad_1", 0)
    total = rows * (get("x_pad_0", 0) + get("x_size", 0) + get("x_pad_1", 0))
    return TRANSFER_START + data * element_cycles(cfg, memory) + total - data


def steps_of(insn: Insn) -> int:
    """Steps of a GEMM, DEPTHWISE or ALU instruction."""
    get = insn.fields.get
    return get("iter_out", 0) * get("iter_in", 0) * (get("uop_end", 0) - get("uop_bgn", 0))


def insn_cycles(cfg: VTAConfig, insn: Insn) -> int:
    """Cycles that an instruction occupies its unit."""
    if insn.opcode in (Opcode.LOAD, Opcode.STORE):
        return _transfer(cfg, insn)
    steps = steps_of(insn)
    if insn.opcode in PRODUCTS:
        return steps + GEMM_START
    if insn.opcode == Opcode.ALU:
        if insn.fields["alu_opcode"] == AluOp.REQ:
            return int(steps * requant_cycles(cfg)) + ALU_REQ_START
        if insn.fields["alu_opcode"] == AluOp.MUL:
            return steps * MUL_CYCLES + ALU_VECTOR_START
        return steps + ALU_START if insn.fields.get("use_imm", 0) else 2 * steps + ALU_VECTOR_START
    return TOKEN_CYCLES


@dataclass
class _Entry:
    """A GEMM or ALU instruction under way: its bank (None: both), when its first step goes and when it is done."""

    bank: int | None = None
    begins: int = 0
    done: int = 0
    first: int = 0
    beyond: int = 0

    def leaves(self, bank: int | None) -> int:
        """When it is known not to touch ``bank`` any more."""
        return self.done if bank is None or self.bank is None or bank == self.bank else self.begins


class _Compute:
    """The compute unit with overlap: GEMM, ALU and the loads of micro-ops and accumulators, side by side.

    One GEMM runs and one waits, the other engines take one instruction each; the unit issues in order. What GEMM and
    ALU do in a bank keeps its order.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._issued = 0
        self._gemms = [_Entry(), _Entry()]
        self._last_step = 0
        self._alu = _Entry()
        self._uop_load = _Entry()
        self._acc_load = _Entry()
        self._req_load = 0

    def run(self, insn: Insn, tokens: int, bank: int | None) -> int:
        """When ``insn``, whose tokens are there at ``tokens``, is done."""
        ready = max(self._issued + ISSUE_CYCLES, tokens)
        if insn.opcode == Opcode.LOAD and insn.fields.get("x_size", 0):
            return self._load(insn, ready, bank)
        if insn.opcode in PRODUCTS or insn.opcode == Opcode.ALU:
            first, beyond = insn.fields.get("uop_bgn", 0), insn.fields.get("uop_end", 0)
            if first < self._uop_load.beyond and self._uop_load.first < beyond:
                ready = max(ready, self._uop_load.done)
            entry = _Entry(bank, first=first, beyond=beyond)
            return self._gemm(insn, ready, entry) if insn.opcode in PRODUCTS else self._run_alu(insn, ready, entry)
        self._issued = ready
        return self._all_done(ready)

    def _all_done(self, least: int) -> int:
        loads = self._acc_load.done, self._uop_load.done, self._req_load
        return max(least, self._alu.done, *loads, *(e.done for e in self._gemms))

    def _gemm(self, insn: Insn, ready: int, entry: _Entry) -> int:
        before, last = self._gemms
        self._issued = max(ready, before.done, last.begins)
        load = self._acc_load.leaves(entry.bank) if self._acc_load.done > self._issued else 0
        entry.begins = max(self._issued + 2, self._last_step, self._alu.leaves(entry.bank), load)
        self._last_step = entry.begins + steps_of(insn)
        entry.done = self._last_step + DRAIN_CYCLES
        self._gemms = [last, entry]
        return entry.done

    def _run_alu(self, insn: Insn, ready: int, entry: _Entry) -> int:
        self._issued = max(ready, self._alu.done)
        others = [item.leaves(entry.bank) for item in (*self._gemms, self._acc_load)]
        entry.begins = max(self._issued, *others)
        entry.done = entry.begins + insn_cycles(self._cfg, insn)
        self._alu = entry
        return entry.done

    def _load(self, insn: Insn, ready: int, bank: int | None) -> int:
        memory = Memory(insn.fields.get("memory_type", 0))
        if memory == Memory.UOP:
            return self._load_uops(insn, ready)
        if memory == Memory.REQ:
            # No engine of this unit reads the parameters (STORE does), but the token says that all older work is done.
            self._issued = max(ready, self._req_load)
            self._req_load = self._issued + insn_cycles(self._cfg, insn)
            return self._all_done(self._req_load)
        return self._load_acc(insn, ready, bank)

    def _load_uops(self, insn: Insn, ready: int) -> int:
        first = insn.fields.get("sram_base", 0)
        beyond = first + insn.fields["x_size"]
        readers = (e.done for e in (*self._gemms, self._alu) if e.first < beyond and first < e.beyond)
        self._issued = max(ready, self._uop_load.done, *readers)
        done = self._issued + insn_cycles(self._cfg, insn)
        self._uop_load = _Entry(first=first, beyond=beyond, done=done)
        return done

    def _load_acc(self, insn: Insn, ready: int, bank: int | None) -> int:
        busy = (entry.leaves(bank) for entry in (*self._gemms, self._alu))
        self._issued = max(ready, self._acc_load.done, *busy)
        self._acc_load = _Entry(bank, done=self._issued + insn_cycles(self._cfg, insn))
        return self._acc_load.done


def slice_cycles(cfg: VTAConfig, insns: Sequence[Insn], banks: Sequence[int | None] = ()) -> int:
    """Cycles of a slice that runs alone. Its pops must follow their pushes in program order.

    ``banks``: the one accumulator bank of each instruction (see StreamBuilder); without it every instruction is taken
    to touch both.
    """
    compute = _Compute(cfg) if overlaps(cfg) else None
    free = dict.fromkeys(Unit, 0)
    tokens: dict[tuple[Unit, Unit], deque[int]] = {queue: deque() for queue in QUEUES}
    for insn, bank in zip(insns, banks or [None] * len(insns), strict=True):
        unit = insn.unit
        time = 0 if compute is not None and unit == Unit.COMPUTE else free[unit]
        for queue, (_, pop) in QUEUES.items():
            if queue[1] == unit and insn.fields.get(pop, 0):
                time = max(time, tokens[queue].popleft())
        if compute is not None and unit == Unit.COMPUTE:
            time = compute.run(insn, time, bank)
            free[unit] = max(time, free[unit])
        else:
            time += insn_cycles(cfg, insn)
            free[unit] = time
        for queue, (push, _) in QUEUES.items():
            if queue[0] == unit and insn.fields.get(push, 0):
                tokens[queue].append(time)
    return max(free.values())


def trial_cost(cfg: VTAConfig, insns: Sequence[Insn], banks: Sequence[int | None]) -> int:
    """What tilings are compared by: cycles, and a little for each instruction, which must be fetched and held."""
    return slice_cycles(cfg, insns, banks) + INSN_COST * len(insns)
