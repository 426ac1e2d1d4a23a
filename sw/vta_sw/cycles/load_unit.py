"""The load unit: LOADs of inputs and weights, issued in order, moving side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, Unit

from .read_bus import Client, Request, request_time
from .timing import LANDING, LOADER_QUEUE, LOADS_OPEN, UNKNOWN
from .tokens import Tokens
from .transfers import Transfer, load_transfer

LOADED = (Memory.INP, Memory.WGT)


class LoadUnit:
    """Issues ``insns`` (its own, in order) when they have arrived, their tokens are there and their loader has room."""

    def __init__(
        self,
        cfg: VTAConfig,
        insns: Sequence[Insn],
        clients: dict[Memory, Client],
        tokens: Tokens,
        arrived: list[float],
        issued: list[float],
    ) -> None:
        self._clients = clients
        self._arrived, self.issued = arrived, issued
        self._pops, self._pushes = tokens[Unit.COMPUTE, Unit.LOAD], tokens[Unit.LOAD, Unit.COMPUTE]
        self._takes = [bool(insn.fields.get("pop_next", 0)) for insn in insns]
        self._gives = [bool(insn.fields.get("push_next", 0)) for insn in insns]
        self._memories = [Memory(insn.fields["memory_type"]) for insn in insns]
        self._transfers = [load_transfer(cfg, insn) for insn in insns]
        self._ended: list[float] = []
        self.retired: list[float] = []
        self._asking: dict[Memory, float] = dict.fromkeys(LOADED, 0.0)
        self._loads: dict[Memory, deque[int]] = {memory: deque(maxlen=LOADER_QUEUE) for memory in LOADED}

    @property
    def finished(self) -> bool:
        """Whether all instructions are done."""
        return len(self.retired) == len(self._takes)

    def advance(self) -> bool:
        """Issue and retire what is decided; whether anything was."""
        issued, retired = len(self.issued), len(self.retired)
        self._retire()
        for number in range(issued, len(self._arrived)):
            time = self._when(number)
            if time == UNKNOWN:
                break
            if self._takes[number]:
                self._pops.popleft()
            self.issued.append(time)
            transfer = self._transfers[number]
            if transfer is None:
                self._ended.append(time)
            else:
                self._ended.append(UNKNOWN)
                self._start(number, self._memories[number], transfer, time)
            self._retire()
        return len(self.issued) > issued or len(self.retired) > retired

    def _when(self, number: int) -> float:
        """When instruction ``number`` is issued; UNKNOWN while that is not decided."""
        if self._takes[number] and not self._pops:
            return UNKNOWN
        time = self._arrived[number]
        if number:
            time = max(time, self.issued[-1] + 1)
        if self._takes[number]:
            time = max(time, self._pops[0])
        if number >= LOADS_OPEN:
            if number - LOADS_OPEN >= len(self.retired):
                return UNKNOWN
            time = max(time, self.retired[number - LOADS_OPEN])
        if self._transfers[number] is None:
            return time
        memory = self._memories[number]
        loads = self._loads[memory]
        if len(loads) == LOADER_QUEUE:
            time = max(time, self._ended[loads[0]])
        return max(time, self._asking[memory])

    def _start(self, number: int, memory: Memory, transfer: Transfer, time: float) -> None:
        self._asking[memory] = UNKNOWN
        self._loads[memory].append(number)
        requested, done = self._requested(memory), self._done(number)
        self._clients[memory].requests.append(Request(transfer, request_time(time), requested, done, ready=time + 2))

    def _requested(self, memory: Memory) -> Callable[[float], None]:
        def requested(time: float) -> None:
            self._asking[memory] = time

        return requested

    def _done(self, number: int) -> Callable[[float], None]:
        def done(time: float) -> None:
            self._ended[number] = time

        return done

    def _retire(self) -> None:
        while len(self.retired) < len(self._ended):
            number = len(self.retired)
            ended = self._ended[number]
            if ended == UNKNOWN:
                return
            if number:
                ended = max(ended, self.retired[-1] + 1)
            self.retired.append(ended)
            if self._gives[number]:
                self._pushes.append(ended + LANDING)
