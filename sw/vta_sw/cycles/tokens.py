"""Dependency tokens, each with the time from which its consumer sees it."""

from __future__ import annotations

from collections import deque

from vta_arch.isa import Unit

Tokens = dict[tuple[Unit, Unit], deque[float]]
"""(producer, consumer) -> times of the tokens that wait, in order."""

QUEUES: dict[tuple[Unit, Unit], tuple[str, str]] = {
    (Unit.LOAD, Unit.COMPUTE): ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD): ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}
"""Producer and consumer unit -> token bits of either."""


def token_queues() -> Tokens:
    """A queue for each pair of neighbours."""
    return {queue: deque() for queue in QUEUES}
