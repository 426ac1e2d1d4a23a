"""Fetch and dispatch: when each instruction stands in its unit's queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vta_arch.config import VTAConfig
from vta_arch.constants import QUEUED_INSNS
from vta_arch.isa import INSN_BYTES, Unit

from .read_bus import Client, Request
from .timing import FETCH_BURST_BYTES, FETCH_START, PREFETCH, QUEUE_LATENCY, MemoryTiming
from .transfers import Transfer


class Fetch:
    """Reads a stream over ``client``; an instruction is dispatched when its unit's queue has room.

    ``arrived[unit]`` are the times of the unit's instructions so far, which its ``issued[unit]`` frees again.
    """

    def __init__(
        self,
        cfg: VTAConfig,
        timing: MemoryTiming,
        units: Sequence[Unit],
        client: Client,
        issued: dict[Unit, list[float]],
    ) -> None:
        self._client, self._total = client, len(units)
        self.arrived: dict[Unit, list[float]] = {unit: [] for unit in Unit}
        bus = cfg.axi_data_width // 8
        self._burst = max(FETCH_BURST_BYTES, bus) // INSN_BYTES
        self._beats_of = max(1, INSN_BYTES // bus)
        self._per_beat = max(1, bus // INSN_BYTES)
        self._interval = float(timing.beat_interval) * self._beats_of / self._per_beat
        self._requested = 0
        self._queues = [(self.arrived[unit], issued[unit]) for unit in units]
        self._dispatched: list[float] = []
        self._received: list[float] = []

    def advance(self) -> bool:
        """Dispatch what has come, and ask for more where there is room; whether anything was dispatched."""
        before = len(self._dispatched)
        self._dispatch()
        self._ask()
        return len(self._dispatched) > before

    def _ask(self) -> None:
        while self._requested < self._total:
            count = min(self._burst, self._total - self._requested)
            needed = self._requested + count - PREFETCH
            if needed > len(self._dispatched):
                return
            start = FETCH_START if needed <= 0 else self._dispatched[needed - 1] + 1
            self._requested += count
            beats = max(1, count * self._beats_of // self._per_beat)
            self._client.requests.append(Request(Transfer(1, beats), start, _nothing, self._receiver(count)))

    def _receiver(self, count: int) -> Callable[[float], None]:
        def receive(done: float) -> None:
            self._received += [done - (count - 1 - number) * self._interval for number in range(count)]
            self._dispatch()

        return receive

    def _dispatch(self) -> None:
        done, received = self._dispatched, self._received
        while len(done) < len(received):
            number = len(done)
            arrived, issued = self._queues[number]
            time = received[number]
            if done:
                time = max(time, done[-1] + 1)
            before = len(arrived) - QUEUED_INSNS
            if before >= 0:
                if before >= len(issued):
                    return
                time = max(time, issued[before] + 1)
            done.append(time)
            arrived.append(time + QUEUE_LATENCY)


def _nothing(_time: float) -> None:
    """Nobody waits for the request of a fetch."""
