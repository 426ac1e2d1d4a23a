"""The store unit: one STORE after the other, its responses awaited beside the next ones."""

from __future__ import annotations

from collections.abc import Sequence

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Unit

from .lanes import RequantLanes
from .timing import ANSWER, REQUANT_START, STORE_START, STORES_OPEN, WRITES_OPEN, MemoryTiming
from .tokens import Tokens
from .transfers import Transfer, store_transfer


class StoreUnit:
    """Issues ``insns`` (its own, in order) when they have arrived, their tokens are there and the last one is sent."""

    def __init__(
        self,
        cfg: VTAConfig,
        timing: MemoryTiming,
        insns: Sequence[Insn],
        tokens: Tokens,
        arrived: list[float],
        issued: list[float],
        lanes: RequantLanes,
    ) -> None:
        self._lanes = lanes
        self._cfg, self._insns, self._timing = cfg, insns, timing
        self._arrived, self.issued = arrived, issued
        self._pops, self._pushes = tokens[Unit.COMPUTE, Unit.STORE], tokens[Unit.STORE, Unit.COMPUTE]
        self._made = 0.0
        self.retired: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether all instructions are done."""
        return len(self.retired) == len(self._insns)

    def advance(self) -> bool:
        """Issue and retire what is decided; whether anything was."""
        before = len(self.issued)
        for number in range(before, len(self._arrived)):
            insn = self._insns[number]
            pops = insn.fields.get("pop_prev", 0)
            if pops and not self._pops:
                break
            time = self._arrived[number]
            if number:
                time = max(time, self.issued[-1] + 1)
            if pops:
                time = max(time, self._pops.popleft())
            if number >= STORES_OPEN:
                time = max(time, self.retired[number - STORES_OPEN])
            self._run(insn, time)
        return len(self.issued) > before

    def _run(self, insn: Insn, time: float) -> None:
        transfer = store_transfer(self._cfg, insn)
        if transfer is None:
            ended = time
        else:
            time = max(time, self._made)
            self._made = time + self._sending(insn, time, transfer)
            ended = self._made + ANSWER + self._timing.latency
        self.issued.append(time)
        if self.retired:
            ended = max(ended, self.retired[-1] + 1)
        self.retired.append(ended)
        if insn.fields.get("push_prev", 0):
            self._pushes.append(ended)

    def _sending(self, insn: Insn, time: float, transfer: Transfer) -> float:
        """Cycles from the issue at ``time`` until the last word is made."""
        cfg = self._cfg
        requantizes = insn.fields.get("requant", 0)
        vectors = insn.fields["x_size"] * insn.fields["y_size"]
        parts = cfg.batch * cfg.block_out // cfg.requant_width if requantizes else 1
        on_bus = transfer.beats * float(self._timing.beat_interval)
        # Every burst holds one of the places until it is answered.
        answers = max(0, transfer.bursts - WRITES_OPEN) * (self._timing.latency + ANSWER) / WRITES_OPEN
        cycles = max(vectors * parts, on_bus, answers)
        if not requantizes:
            return STORE_START + cycles
        return REQUANT_START + self._lanes.use(time, cycles, vectors * parts)
