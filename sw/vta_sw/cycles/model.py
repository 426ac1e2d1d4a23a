"""Cycles of an instruction stream: fetch, load, compute and store side by side, and the bus that they share.

Every unit says, as soon as it is decided, when it will issue its next instruction; the read bus, which alone has to
see all requests in the order of time, goes from burst to burst. What it costs grows with the instructions and, slower,
with the bytes moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, Unit

from .compute_unit import LOADED as COMPUTE_LOADED
from .compute_unit import ComputeUnit
from .fetch import Fetch
from .lanes import RequantLanes
from .load_unit import LOADED, LoadUnit
from .read_bus import ReadBus
from .store_unit import StoreUnit
from .timing import FINISH_CYCLES, REFERENCE_MEMORY, MemoryTiming
from .tokens import token_queues


def stream_cycles(
    cfg: VTAConfig,
    insns: Sequence[Insn],
    banks: Sequence[int | None] = (),
    memory: MemoryTiming = REFERENCE_MEMORY,
    *,
    across: Sequence[bool] = (),
) -> int:
    """Cycles of a launch of ``insns``.

    ``banks``: the one accumulator bank of each instruction; without it every one is taken to touch both.
    ``across``: whether an ALU instruction has its two operands in different banks.
    Raises ValueError for a stream that waits for a token which never comes.
    """
    return _Machine(cfg, insns, banks, across, memory).run()


class _Machine:
    """All units around one read bus, with a stream before them."""

    def __init__(
        self,
        cfg: VTAConfig,
        insns: Sequence[Insn],
        banks: Sequence[int | None],
        across: Sequence[bool],
        memory: MemoryTiming,
    ) -> None:
        units = [insn.unit for insn in insns]
        own: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        for index, unit in enumerate(units):
            own[unit].append(index)
        given = {unit: [insns[index] for index in own[unit]] for unit in Unit}
        memories: list[Memory] = [*LOADED, *COMPUTE_LOADED]
        self._bus = bus = ReadBus(memory, 1 + len(memories))
        clients = dict(zip(memories, bus.clients[1:], strict=True))
        self._issued: dict[Unit, list[float]] = {unit: [] for unit in Unit}
        tokens = token_queues()
        self._fetch = Fetch(cfg, memory, units, bus.clients[0], self._issued)
        queues = {unit: (tokens, self._fetch.arrived[unit], self._issued[unit]) for unit in Unit}
        lanes = RequantLanes()
        computed = own[Unit.COMPUTE]
        known = [banks[index] for index in computed] if banks else [None] * len(computed)
        apart = [across[index] for index in computed] if across else [False] * len(computed)
        self._load = LoadUnit(cfg, given[Unit.LOAD], clients, *queues[Unit.LOAD])
        self._compute = ComputeUnit(cfg, given[Unit.COMPUTE], known, apart, clients, *queues[Unit.COMPUTE], lanes)
        self._store = StoreUnit(cfg, memory, given[Unit.STORE], *queues[Unit.STORE], lanes)
        parts = self._fetch, self._load, self._compute, self._store
        self._parts: tuple[Fetch | LoadUnit | ComputeUnit | StoreUnit, ...] = parts

    def run(self) -> int:
        """Cycles until everything is done. Raises ValueError where it never is."""
        load, compute, store = self._load, self._compute, self._store
        self._settle()
        while self._bus.step():
            self._settle()
        if not (load.finished and compute.finished and store.finished):
            raise ValueError("the stream waits for a token that never comes")
        return round(max([compute.end(), *load.retired[-1:], *store.retired[-1:]]) + FINISH_CYCLES)

    def _settle(self) -> None:
        """Let all units decide what they can, in turns, until none of them does."""
        idle = 0
        for part in cycle(self._parts):
            idle = 0 if part.advance() else idle + 1
            if idle == len(self._parts):
                return
