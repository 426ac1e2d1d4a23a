"""The order in which instructions run: three in-order units and four token queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from vta_arch.encoding import Insn
from vta_arch.isa import TOKEN_LIMIT, Unit
from vta_arch.registers import Errors, Status


class Queue(IntEnum):
    """Token queues, named from giver to taker."""

    LOAD_TO_COMPUTE = 0
    COMPUTE_TO_LOAD = 1
    COMPUTE_TO_STORE = 2
    STORE_TO_COMPUTE = 3


_WIRING: dict[Unit, dict[str, Queue]] = {
    Unit.LOAD: {"pop_next": Queue.COMPUTE_TO_LOAD, "push_next": Queue.LOAD_TO_COMPUTE},
    Unit.COMPUTE: {
        "pop_prev": Queue.LOAD_TO_COMPUTE,
        "pop_next": Queue.STORE_TO_COMPUTE,
        "push_prev": Queue.COMPUTE_TO_LOAD,
        "push_next": Queue.COMPUTE_TO_STORE,
    },
    Unit.STORE: {"pop_prev": Queue.COMPUTE_TO_STORE, "push_prev": Queue.STORE_TO_COMPUTE},
}
"""The queue behind each token bit; a bit that is not listed means nothing to the unit."""

_WAIT = {Unit.LOAD: Status.WAIT_LOAD, Unit.COMPUTE: Status.WAIT_COMPUTE, Unit.STORE: Status.WAIT_STORE}


@dataclass(frozen=True)
class Job:
    """A decoded instruction with the queues that it takes from and gives to."""

    insn: Insn = field(compare=False)
    word: bytes
    unit: Unit
    pops: tuple[Queue, ...]
    pushes: tuple[Queue, ...]
    place: int = 0
    """Instructions before it in the part of the stream that is being scheduled; below 0 in an earlier part."""


@dataclass(frozen=True)
class SchedulerState:
    """Tokens by queue, and by unit the jobs that have not started and the tokens still to give."""

    tokens: tuple[int, ...] = (0,) * len(Queue)
    waiting: tuple[tuple[Job, ...], ...] = ((),) * len(Unit)
    pending: tuple[tuple[Queue, ...], ...] = ((),) * len(Unit)


def make_job(insn: Insn, word: bytes, place: int = 0) -> Job:
    """The job of an instruction of known opcode."""
    wiring = _WIRING[insn.unit]
    pops = tuple(queue for bit, queue in wiring.items() if bit.startswith("pop") and insn[bit])
    pushes = tuple(queue for bit, queue in wiring.items() if bit.startswith("push") and insn[bit])
    return Job(insn, word, insn.unit, pops, pushes, place)


class Scheduler:
    """Runs jobs as their tokens allow, each unit in the order of dispatch.

    Args:
        execute: called for each job that starts; returns the job's sticky errors.
        limit: tokens that a queue holds; a push beyond it waits and holds up its unit.
        state: where to continue; without it, no tokens and no jobs.
    """

    def __init__(
        self,
        execute: Callable[[Job], Errors],
        limit: int = TOKEN_LIMIT,
        state: SchedulerState | None = None,
    ) -> None:
        state = state or SchedulerState()
        self._execute = execute
        self._limit = limit
        self._tokens = list(state.tokens)
        self._waiting = {unit: deque(jobs) for unit, jobs in zip(Unit, state.waiting, strict=True)}
        self._pending = {unit: list(queues) for unit, queues in zip(Unit, state.pending, strict=True)}
        self.errors = Errors(0)

    def dispatch(self, job: Job) -> None:
        """Put a job at the end of its unit's queue."""
        self._waiting[job.unit].append(job)

    def run(self) -> None:
        """Execute until every unit is idle or waits for a token."""
        busy = True
        while busy:
            busy = False
            for unit in Unit:
                while self._advance(unit):
                    busy = True

    def _advance(self, unit: Unit) -> bool:
        """One step of ``unit``: give the tokens of its last job, or run the next. False if it cannot."""
        if self._pending[unit]:
            return self._give(unit)
        if not self._waiting[unit]:
            return False
        job = self._waiting[unit][0]
        tokens = self._tokens
        if not all(tokens[queue] for queue in job.pops):
            return False
        for queue in job.pops:
            tokens[queue] -= 1
        self._waiting[unit].popleft()
        self.errors |= self._execute(job)
        self._pending[unit] = list(job.pushes)
        return True

    def _give(self, unit: Unit) -> bool:
        stuck = [queue for queue in self._pending[unit] if self._tokens[queue] >= self._limit]
        given = [queue for queue in self._pending[unit] if queue not in stuck]
        for queue in given:
            self._tokens[queue] += 1
        self._pending[unit] = stuck
        return bool(given)

    def waiting(self) -> Status:
        """WAIT bits of the units that have something left to do."""
        bits = Status(0)
        for unit in Unit:
            if self._waiting[unit] or self._pending[unit]:
                bits |= _WAIT[unit]
        return bits

    def first_waiting(self) -> int | None:
        """Place of the first job that waits for a token, None if there is none."""
        heads = [self._waiting[unit][0].place for unit in Unit if self._waiting[unit] and not self._pending[unit]]
        return min(heads, default=None)

    def state(self, passed: int = 0) -> SchedulerState:
        """All that decides how later jobs run; places count from ``passed`` instructions further on."""
        waiting = tuple(
            tuple(replace(job, place=job.place - passed) for job in jobs) for jobs in self._waiting.values()
        )
        return SchedulerState(tuple(self._tokens), waiting, tuple(tuple(queues) for queues in self._pending.values()))
