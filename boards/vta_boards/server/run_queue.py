"""One run at a time, first come, first served."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from .refusals import Gone, Refused, busy

_LOOK_SECONDS = 0.2
"""Between two looks at whether a waiting client is still there."""


@dataclass(eq=False)
class Ticket:
    """A run: its client's name for it and the program."""

    request: str
    program: str
    since: float = field(default_factory=time.monotonic)


class RunQueue:
    """The run that is under way, and those that wait."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._tickets: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self.closed = False
        """Whether the server stops."""

    @contextlib.contextmanager
    def turn(self, ticket: Ticket, present: Callable[[], bool]) -> Iterator[None]:
        """Wait for the turn; the block is the run.

        ``present`` tells whether the client is still there. Raises Gone when it leaves before its turn, Refused: 503
        when the queue is full or the server stops, 409 when a run of that name is in the queue.
        """
        with self._changed:
            self._admit(ticket)
            self._tickets.append(ticket)
        try:
            self._wait(ticket, present)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def check_room(self) -> None:
        """Raise Refused (503) when another run would not be let in."""
        with self._changed:
            self._check_room()

    def close(self) -> None:
        """Send everybody away who waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def snapshot(self) -> dict[str, Any]:
        """The run under way (or None) and those that wait, with their positions from 1."""
        now = time.monotonic()
        with self._changed:
            entries = [
                {"request": t.request, "program": t.program, "seconds": round(now - t.since, 3)} for t in self._tickets
            ]
        waiting = [{"position": place, **entry} for place, entry in enumerate(entries[1:], 1)]
        return {"running": entries[0] if entries else None, "queue": waiting}

    def _admit(self, ticket: Ticket) -> None:
        self._check_room()
        if any(other.request == ticket.request for other in self._tickets):
            text = f"a run called {ticket.request} is in the queue; give each try a name of its own"
            raise Refused(HTTPStatus.CONFLICT, text)

    def _check_room(self) -> None:
        if self.closed:
            raise busy("the server stops")
        if len(self._tickets) > self._length:
            raise busy(f"the queue is full: {self._length} runs wait")

    def _wait(self, ticket: Ticket, present: Callable[[], bool]) -> None:
        with self._changed:
            while True:
                if self.closed:
                    raise busy("the server stops")
                if not present():
                    raise Gone
                if self._tickets[0] is ticket:
                    ticket.since = time.monotonic()
                    return
                self._changed.wait(_LOOK_SECONDS)
