"""The read channel: requests of all loaders in turn, data in the order of the requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .timing import READ_START, READS_OPEN, UNKNOWN, MemoryTiming
from .transfers import Transfer


class Request:
    """A transfer on its way. ``start``: when its first burst can be requested.

    ``cycles``: what a burst takes of the bus; ``gap``: how long its loader then takes no beat.
    """

    __slots__ = ("begun", "bursts", "cycles", "gap", "on_done", "on_requested", "ready", "start", "transfer")

    def __init__(
        self,
        transfer: Transfer,
        start: float,
        on_requested: Callable[[float], None],
        on_done: Callable[[float], None],
        ready: float = 0.0,
    ) -> None:
        self.transfer, self.start, self.ready = transfer, start, ready
        self.on_requested, self.on_done = on_requested, on_done
        self.bursts, self.begun = transfer.bursts, False
        self.cycles = self.gap = 0.0


class Client:
    """A loader: its requests in order. ``finish``: when it can take the next beat after those so far."""

    __slots__ = ("finish", "next", "requests")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.next = 0.0
        self.finish = 0.0


class ReadBus:
    """Bursts of all clients; call :meth:`step` while there are requests.

    Clients that ask take turns, burst by burst; at most READS_OPEN bursts are under way.
    """

    def __init__(self, timing: MemoryTiming, clients: int) -> None:
        self.clients = [Client() for _ in range(clients)]
        self._latency, self._interval = timing.latency, float(timing.beat_interval)
        self._time = 0.0
        self._free = 0.0
        self._last = 0
        self._ends = deque([0.0] * READS_OPEN, READS_OPEN)

    def step(self) -> bool:
        """Give requests their place until a transfer has all of its own; False when there is none.

        Until then nobody hears of it, so the clients that ask stay the same.
        """
        asking = [number for number, client in enumerate(self.clients) if client.requests]
        if not asking:
            return False
        clients = [self.clients[number] for number in asking]
        ready = [self._ready(client) for client in clients]
        turn = sum(number <= self._last for number in asking) % len(asking)
        order = [*range(len(asking))] * 2
        ends = self._ends
        while True:
            now = self._time if self._time > ends[0] else ends[0]
            if ready[turn] > now:
                now = max(now, min(ready))
                turn = next(index for index in order[turn:] if ready[index] <= now)
            client, self._last = clients[turn], asking[turn]
            ready[turn] = UNKNOWN
            self._accept(client, now, min(ready))
            ready[turn] = client.next
            turn = order[turn + 1]
            if not client.requests[0].bursts:
                self._end(client)
                return True

    def _ready(self, client: Client) -> float:
        """When the client can request the next burst."""
        request = client.requests[0]
        if not request.begun:
            # What a loader does between beats hides in a slow memory's pauses.
            request.begun = True
            transfer = request.transfer
            client.finish = max(client.finish, request.ready) + transfer.head
            beats = transfer.beats / transfer.bursts
            request.cycles = max(beats * self._interval, beats + transfer.stalls / transfer.bursts)
            request.gap = max(0.0, transfer.gaps / transfer.bursts - (self._interval - 1))
        return max(request.start, client.next)

    def _accept(self, client: Client, now: float, until: float) -> None:
        """A burst of ``client`` at ``now``, and more of its transfer where they go before ``until``."""
        request = client.requests[0]
        latency, cycles, gap, left = self._latency, request.cycles, request.gap, request.bursts
        free, taken, ends = self._free, client.finish, self._ends
        while True:
            begin = now + latency
            if free > begin:
                begin = free
            if taken > begin:
                begin = taken
            free = begin + cycles
            taken = free + gap
            ends.append(free)
            left -= 1
            time = now + 1
            now = time if time > ends[0] else ends[0]
            if not left or now >= until:
                break
        self._time = client.next = time
        self._free, client.finish, request.bursts = free, taken, left

    def _end(self, client: Client) -> None:
        """All bursts of the client's first request have their place."""
        request = client.requests.popleft()
        # The last beat is followed by no pause.
        client.finish += request.transfer.tail - (self._interval - 1)
        request.on_requested(self._time)
        request.on_done(client.finish)


def request_time(issued: float) -> float:
    """When a LOAD that is issued at ``issued`` puts its first request on the bus."""
    return issued + READ_START
