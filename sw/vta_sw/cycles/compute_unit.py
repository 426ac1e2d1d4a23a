"""The compute unit: issues in order to GEMM, ALU and the loads of micro-ops, accumulators and parameters.

What two engines do in one accumulator bank keeps its order; an instruction whose bank is not known takes both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import AluOp, Memory, Opcode, Unit

from .lanes import RequantLanes
from .read_bus import Client, Request, request_time
from .timing import (
    ALU_DRAIN,
    ALU_FIRST_STEP,
    COMPUTE_LOADS,
    GEMM_DRAIN,
    GEMM_FIRST_STEP,
    ISSUE_CYCLES,
    LOOP_AHEAD,
    MUL_VECTOR,
    REQ_DRAIN,
    RETIRE,
    TOKENS_OPEN,
    UNKNOWN,
)
from .tokens import Tokens
from .transfers import Transfer, load_transfer

PRODUCTS = (Opcode.GEMM, Opcode.DEPTHWISE)
WORK = (*PRODUCTS, Opcode.ALU)
LOADED = (Memory.UOP, Memory.ACC, Memory.ACC_8BIT, Memory.REQ)
NO_BANK = -1
"""The bank of what touches no accumulator."""


def steps_of(cfg: VTAConfig, insn: Insn, *, across: bool = False) -> int:
    """Cycles of a GEMM, DEPTHWISE or ALU instruction from its first step to its last."""
    get = insn.fields.get
    rounds, uops = get("iter_out", 0) * get("iter_in", 0), get("uop_end", 0) - get("uop_bgn", 0)
    if rounds <= 0 or uops <= 0:
        return 1
    if insn.opcode == Opcode.GEMM:
        return rounds * uops
    if insn.opcode == Opcode.DEPTHWISE:
        return rounds * max(uops, cfg.depthwise_outputs)
    op = AluOp(get("alu_opcode", 0))
    if op == AluOp.REQ:
        return rounds * uops * (cfg.batch * cfg.block_out // cfg.requant_width)
    vector = MUL_VECTOR if op == AluOp.MUL else 1 if get("use_imm", 0) or across else 2
    return rounds * uops * vector


class Entry:
    """An instruction in an engine. ``done`` is infinite until it is known."""

    __slots__ = ("bank", "begins", "beyond", "done", "first", "last")

    def __init__(self, bank: int | None = None, first: int = 0, beyond: int = 0, done: float = 0.0) -> None:
        self.bank, self.first, self.beyond = bank, first, beyond
        self.begins = self.last = self.done = done

    def leaves(self, bank: int | None) -> float:
        """When it is known not to touch ``bank`` any more."""
        if self.bank == NO_BANK:
            return 0.0
        return self.done if bank is None or self.bank is None or bank == self.bank else self.begins

    def shares_uops(self, other: Entry) -> bool:
        """Whether both name a micro-op."""
        return self.first < other.beyond and other.first < self.beyond


class _Gate:
    """Tokens for one neighbour, given in order, each when all entries that it waits for are done."""

    def __init__(self, tokens: deque[float]) -> None:
        """``tokens``: where the neighbour finds them."""
        self._tokens = tokens
        self._given: list[float] = []
        self.waiting: deque[list[Entry]] = deque()

    def room(self) -> float:
        """When an instruction may be issued, of those that give tokens TOKENS_OPEN at most may wait."""
        number = len(self._given) + len(self.waiting) - TOKENS_OPEN
        if number < 0:
            return 0.0
        return self._given[number] if number < len(self._given) else UNKNOWN

    def retire(self) -> bool:
        """Give the tokens whose times are decided; whether there were any."""
        before = len(self._given)
        while self.waiting:
            time = max([entry.done for entry in self.waiting[0]]) + RETIRE
            if time == UNKNOWN:
                break
            if self._given:
                time = max(time, self._given[-1] + 1)
            self.waiting.popleft()
            self._given.append(time)
            self._tokens.append(time)
        return len(self._given) > before


_Item = TypeVar("_Item")


def _named(items: dict[str, _Item], insns: Sequence[Insn]) -> list[tuple[_Item, ...]]:
    """Of each instruction the items whose field is set."""
    pairs = tuple(items.items())
    return [tuple(item for name, item in pairs if insn.fields.get(name)) for insn in insns]


class ComputeUnit:
    """Issues ``insns`` (its own, in order); ``banks`` are the one bank of each, None where it may touch both;
    ``across`` says whether its operands are in different ones."""

    def __init__(
        self,
        cfg: VTAConfig,
        insns: Sequence[Insn],
        banks: Sequence[int | None],
        across: Sequence[bool],
        clients: dict[Memory, Client],
        tokens: Tokens,
        arrived: list[float],
        issued: list[float],
        lanes: RequantLanes,
    ) -> None:
        self._lanes = lanes
        self._cfg, self._insns, self._banks, self._clients = cfg, insns, banks, clients
        self._loads = [load_transfer(cfg, insn) if insn.opcode == Opcode.LOAD else None for insn in insns]
        self._steps = [
            steps_of(cfg, insn, across=wide) if insn.opcode in WORK else 0
            for insn, wide in zip(insns, across, strict=True)
        ]
        self._arrived, self.issued = arrived, issued
        pops = {"pop_prev": tokens[Unit.LOAD, Unit.COMPUTE], "pop_next": tokens[Unit.STORE, Unit.COMPUTE]}
        gates = {
            "push_prev": _Gate(tokens[Unit.COMPUTE, Unit.LOAD]),
            "push_next": _Gate(tokens[Unit.COMPUTE, Unit.STORE]),
        }
        self._gates = tuple(gates.values())
        # What each instruction takes tokens from, and gives them through.
        self._takes, self._gives = _named(pops, insns), _named(gates, insns)
        self._gemms = [Entry(), Entry()]
        self._alu = Entry()
        self._uop_loads = [Entry(), Entry()]
        self._acc_loads = [Entry(), Entry()]
        self._behind = False
        self._asking: dict[Memory, float] = dict.fromkeys(LOADED, 0.0)
        self.entries: list[Entry] = []

    @property
    def finished(self) -> bool:
        """Whether all instructions are done."""
        return len(self.issued) == len(self._insns) and not any(gate.waiting for gate in self._gates)

    def end(self) -> float:
        """When everything issued is done."""
        return max((entry.done for entry in self.entries), default=0.0)

    def advance(self) -> bool:
        """Issue and retire what is decided; whether anything was."""
        before = len(self.issued)
        retired = self._retire()
        for number in range(before, len(self._arrived)):
            ready = self._ready(number)
            if ready == UNKNOWN:
                break
            insn = self._insns[number]
            entry = self._run(insn, ready, self._banks[number])
            if entry is None:
                break
            for queue in self._takes[number]:
                queue.popleft()
            self.entries.append(entry)
            for gate in self._gives[number]:
                gate.waiting.append(self._needs(insn, entry))
                gate.retire()
        return retired or len(self.issued) > before

    # Tokens --------------------------------------------------------------------------------
    def _ready(self, number: int) -> float:
        """When an instruction that has arrived has its tokens; UNKNOWN while that is not decided."""
        time = self._arrived[number] + 1
        if number:
            time = max(time, self.issued[-1] + ISSUE_CYCLES)
        for queue in self._takes[number]:
            if not queue:
                return UNKNOWN
            time = max(time, queue[0])
        for gate in self._gates:
            time = max(time, gate.room())
        return time

    def _needs(self, insn: Insn, entry: Entry) -> list[Entry]:
        """What must be done before its tokens are given: itself, and all older ones unless it declared a bank."""
        if insn.fields.get("one_bank", 0):
            return [entry]
        return [entry, *self._gemms, self._alu, *self._uop_loads, *self._acc_loads]

    def _retire(self) -> bool:
        """Give the tokens that are decided; whether there were any."""
        given = [gate.retire() for gate in self._gates]
        return any(given)

    # Engines -------------------------------------------------------------------------------
    def _run(self, insn: Insn, ready: float, bank: int | None) -> Entry | None:
        """Its entry, issued; None when that waits for something still unknown."""
        if insn.opcode in WORK:
            entry = Entry(bank, insn.fields.get("uop_bgn", 0), insn.fields.get("uop_end", 0))
            for load in self._uop_loads:
                if entry.shares_uops(load):
                    ready = max(ready, load.done)
            if ready == UNKNOWN:
                return None
            return self._gemm(ready, entry) if insn.opcode in PRODUCTS else self._run_alu(insn, ready, entry)
        transfer = self._loads[len(self.issued)]
        if transfer is not None:
            return self._load(insn, transfer, ready, bank)
        self.issued.append(ready)
        return Entry(done=ready)

    def _gemm(self, ready: float, entry: Entry) -> Entry | None:
        before, last = self._gemms
        issue = max(ready, before.done + 1, last.begins - LOOP_AHEAD)
        begins = max(issue + GEMM_FIRST_STEP, last.last + 1, self._alu.leaves(entry.bank) + 1)
        for load in self._acc_loads:
            if load.done > issue:
                begins = max(begins, load.leaves(entry.bank) + 1)
        if begins == UNKNOWN:
            return None
        entry.begins = begins
        entry.last = begins + self._steps[len(self.issued)] - 1
        self.issued.append(issue)
        entry.done = entry.last + GEMM_DRAIN
        self._gemms = [last, entry]
        self._behind = True
        return entry

    def _run_alu(self, insn: Insn, ready: float, entry: Entry) -> Entry | None:
        issue = max(ready, self._alu.done + 1)
        others = [item.leaves(entry.bank) + 1 for item in (*self._gemms, *self._acc_loads)]
        begins = max(issue + ALU_FIRST_STEP, *others)
        if begins == UNKNOWN:
            return None
        entry.begins = begins
        requantizes = insn.fields.get("alu_opcode", 0) == AluOp.REQ
        steps: float = self._steps[len(self.issued)]
        entry.last = begins + (self._lanes.use(begins, steps, steps) if requantizes else steps) - 1
        self.issued.append(issue)
        entry.done = entry.last + (REQ_DRAIN if requantizes else ALU_DRAIN)
        self._alu = entry
        self._behind = True
        return entry

    def _load(self, insn: Insn, transfer: Transfer, ready: float, bank: int | None) -> Entry | None:
        memory = Memory(insn.fields.get("memory_type", 0))
        first = insn.fields.get("sram_base", 0)
        entry = Entry(bank, done=UNKNOWN)
        issue = max(ready, self._asking[memory])
        if memory == Memory.UOP:
            entry.first, entry.beyond = first, first + insn.fields["x_size"] * insn.fields["y_size"]
            readers = (item.last for item in (*self._gemms, self._alu) if item.shares_uops(entry))
            issue = max(issue, self._uop_loads[-COMPUTE_LOADS].done, *readers)
        else:
            # Beside another load only where no product or pass came between them.
            earlier = self._acc_loads[-1].done if self._behind else self._acc_loads[-COMPUTE_LOADS].done
            issue = max(issue, earlier)
            if memory != Memory.REQ:
                issue = max(issue, *(item.leaves(bank) + 1 for item in (*self._gemms, self._alu)))
        if issue == UNKNOWN:
            return None
        if memory == Memory.UOP:
            self._uop_loads = [self._uop_loads[1], entry]
        else:
            self._acc_loads = [self._acc_loads[1], entry]
            self._behind = False
            entry.begins = issue
            if memory == Memory.REQ:
                entry.bank = NO_BANK
        self.issued.append(issue)
        self._request(transfer, memory, entry, issue)
        return entry

    def _request(self, transfer: Transfer, memory: Memory, entry: Entry, issue: float) -> None:
        self._asking[memory] = UNKNOWN
        done = self._done(entry)
        start = request_time(issue + 1)
        self._clients[memory].requests.append(Request(transfer, start, self._requested(memory), done, ready=issue + 3))

    def _requested(self, memory: Memory) -> Callable[[float], None]:
        def requested(time: float) -> None:
            self._asking[memory] = time

        return requested

    def _done(self, entry: Entry) -> Callable[[float], None]:
        def done(time: float) -> None:
            entry.done = time + 2

        return done
