"""The read channel: requests of all loaders in turn, data in the order of the requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .timing import READ_START, READS_OPEN, MemoryTiming
from .transfers import Transfer

_MOST_CHUNK = 8
"""Bursts that are accounted for at once, of a long transfer."""


class Request:
    """A transfer on its way. ``start``: when its first burst can be requested."""

    __slots__ = ("beats", "begun", "bursts", "chunk", "on_done", "on_requested", "ready", "start", "transfer")

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
        self.beats = (transfer.beats + 0.0) / transfer.bursts
        self.chunk = max(1, min(_MOST_CHUNK, transfer.bursts // 8))


class Client:
    """A loader: its requests in order. ``finish``: when it has written all data of those so far."""

    __slots__ = ("finish", "next", "requests", "tag")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.next = 0.0
        self.finish = 0.0
        self.tag = 0.0

    def ready(self) -> float:
        """When its next burst can be requested."""
        return max(self.requests[0].start, self.next)


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
        """Give requests their place until a transfer has all of its own; False when there is none."""
        while True:
            active = [client for client in self.clients if client.requests]
            if not active:
                return False
            now = max(self._time, min(client.ready() for client in active) if len(active) > 1 else active[0].ready())
            while self._open and (self._count >= READS_OPEN or self._open[0][0] <= now):
                ended, bursts = self._open.popleft()
                self._count -= bursts
                now = max(now, ended)
            client = active[0]
            if len(active) > 1:
                asking = [client for client in active if client.ready() <= now]
                client = min(asking, key=lambda item: max(item.tag, self._given))
            if self._accept(client, now):
                return True

    def _accept(self, client: Client, now: float) -> bool:
        """The next bursts of ``client`` at ``now``; whether they are the last ones of a transfer."""
        request = client.requests[0]
        transfer = request.transfer
        number = min(request.chunk, request.bursts)
        self._given = max(client.tag, self._given)
        client.tag = self._given + number
        self._time = now + number
        client.next = self._time
        begin = max(now + self._latency, self._free)
        if not request.begun:
            request.begun = True
            begin = max(begin, max(client.finish, request.ready) + transfer.head)
        stalls = transfer.stalls * number / transfer.bursts
        beats = request.beats * number
        # What the loader does between beats hides in a slow memory's pauses.
        self._free = begin + max(beats * self._interval, beats + stalls)
        self._open.append((self._free, number))
        self._count += number
        request.bursts -= number
        if request.bursts:
            return False
        client.requests.popleft()
        # The last beat is followed by no pause.
        client.finish = self._free - (self._interval - 1) + transfer.tail
        request.on_requested(self._time)
        request.on_done(client.finish)
        return True


def request_time(issued: float) -> float:
    """When a LOAD that is issued at ``issued`` puts its first request on the bus."""
    return issued + READ_START
