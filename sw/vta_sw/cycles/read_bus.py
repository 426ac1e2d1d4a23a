"""The read channel: requests of all loaders in turn, data in the order of the requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .timing import READ_START, READS_OPEN, UNKNOWN, MemoryTiming
from .transfers import Transfer

_MOST_CHUNK = 8
"""Bursts that are accounted for at once, of a long transfer."""


class Request:
    """A transfer on its way. ``start``: when its first burst can be requested."""

    __slots__ = ("begun", "bursts", "chunk", "cycles", "on_done", "on_requested", "ready", "start", "transfer")

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
        self.chunk = max(1, min(_MOST_CHUNK, transfer.bursts // 8))
        self.cycles = 0.0


class Client:
    """A loader: its requests in order. ``finish``: when it has written all data of those so far."""

    __slots__ = ("finish", "next", "requests", "tag")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.next = 0.0
        self.finish = 0.0
        self.tag = 0.0


class ReadBus:
    """Bursts of all clients; call :meth:`step` while there are requests.

    At most READS_OPEN bursts are under way. Among clients that ask, the one that was given least goes first, which is
    round robin; short runs of bursts of a long transfer count as one.
    """

    def __init__(self, timing: MemoryTiming, clients: int) -> None:
        self.clients = [Client() for _ in range(clients)]
        self._latency, self._interval = timing.latency, float(timing.beat_interval)
        self._time = 0.0
        self._free = 0.0
        self._given = 0.0
        self._open: deque[tuple[float, int]] = deque()
        self._count = 0
        self.beats = 0

    def step(self) -> bool:
        """Give requests their place until a transfer has all of its own; False when there is none.

        Until then nobody hears of it, so the clients that ask stay the same.
        """
        active = [client for client in self.clients if client.requests]
        if not active:
            return False
        if len(active) == 1:
            client = active[0]
            now = max(self._time, client.requests[0].start, client.next)
            while not self._accept(client, self._room(now)):
                now = self._time
            return True
        ready = [max(client.requests[0].start, client.next) for client in active]
        while True:
            now = self._room(max(self._time, min(ready)))
            chosen, least = 0, UNKNOWN
            for number, time in enumerate(ready):
                if time <= now and least > self._given and active[number].tag < least:
                    chosen, least = number, active[number].tag
            if self._accept(active[chosen], now):
                return True
            ready[chosen] = self._time

    def _room(self, now: float) -> float:
        """When a burst can be requested that is ready at ``now``: earlier ones may have to end first."""
        under_way = self._open
        while under_way and (self._count >= READS_OPEN or under_way[0][0] <= now):
            ended, bursts = under_way.popleft()
            self._count -= bursts
            if ended > now:
                now = ended
        return now

    def _accept(self, client: Client, now: float) -> bool:
        """The next bursts of ``client`` at ``now``; whether they are the last ones of a transfer."""
        request = client.requests[0]
        begin = now + self._latency
        if self._free > begin:
            begin = self._free
        if not request.begun:
            request.begun = True
            begin = max(begin, max(client.finish, request.ready) + request.transfer.head)
            request.cycles = self._cycles(request.transfer, request.chunk)
        number, cycles = request.chunk, request.cycles
        if request.bursts < number:
            number, cycles = request.bursts, self._cycles(request.transfer, request.bursts)
        if client.tag > self._given:
            self._given = client.tag
        client.tag = self._given + number
        client.next = self._time = now + number
        self._free = begin + cycles
        self._open.append((self._free, number))
        self._count += number
        request.bursts -= number
        if request.bursts:
            return False
        self._end(client, request)
        return True

    def _cycles(self, transfer: Transfer, bursts: int) -> float:
        """Of some bursts: what the loader does between beats hides in a slow memory's pauses."""
        beats, stalls = transfer.beats / transfer.bursts * bursts, transfer.stalls * bursts / transfer.bursts
        return max(beats * self._interval, beats + stalls)

    def _end(self, client: Client, request: Request) -> None:
        """All bursts of the client's first request have their place."""
        client.requests.popleft()
        # The last beat is followed by no pause.
        client.finish = self._free - (self._interval - 1) + request.transfer.tail
        request.on_requested(self._time)
        request.on_done(client.finish)


def request_time(issued: float) -> float:
    """When a LOAD that is issued at ``issued`` puts its first request on the bus."""
    return issued + READ_START
