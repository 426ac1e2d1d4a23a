"""The trials of many layers in several processes; what is chosen is the same for any number of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from vta_arch.errors import ModelError

from .lower.choice import Chosen
from .lower.conv import ConvLowering
from .lower.operators import Lowering

_LEAST_STEPS = 2000
"""Steps of all trials together that are worth another process."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_function: list[Callable[[Any], Any]] = []
"""In a copy of a process: what it does with its tasks."""


def processes_at_hand() -> int:
    """Processors that this process may use; 1 where a process cannot be copied, which trials need."""
    copied = "fork" in multiprocessing.get_all_start_methods()
    return len(os.sched_getaffinity(0)) if copied and hasattr(os, "sched_getaffinity") else 1


@contextmanager
def spread(
    function: Callable[[_Task], _Result], processes: int
) -> Iterator[Callable[[Sequence[_Task]], list[_Result]]]:
    """``map(function, tasks)``, for many tasks at a time, by ``processes`` copies of this process.

    The copies are made with the first tasks: what changes later has to come with a task. One process works by itself.
    Raises ModelError in the block where a copy was ended from outside.
    """
    if processes < 2:
        yield lambda tasks: [function(task) for task in tasks]
        return
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(function,)) as pool:
            yield lambda tasks: list(pool.map(_call, tasks))
    except BrokenProcessPool:
        raise ModelError(
            f"one of {processes} processes that try tilings was ended from outside (out of memory?): free memory, or "
            "run on one processor (taskset -c 0 vta compile ...)"
        ) from None


def _begin(function: Callable[[Any], Any]) -> None:
    # Ctrl-C is for the process that waits for this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _function[:] = [function]


def _call(task: Any) -> Any:
    return _function[0](task)


def choose_tilings(lowerings: Iterable[Lowering], processes: int) -> None:
    """Choose the tilings of these layers, in ``processes`` processes if that many trials are worth it.

    The processes are copies of this one: layers are large, and what is found of one is small.
    """
    waiting = {item.key(): item for item in lowerings if isinstance(item, ConvLowering) and not item.is_chosen}
    work = sorted(waiting.values(), key=lambda item: -item.trial_steps)
    if processes < 2 or len(work) < 2 or sum(item.trial_steps for item in work) < _LEAST_STEPS:
        return

    def choose(number: int) -> Chosen:
        return work[number].choose()

    with spread(choose, processes) as choices:
        for lowering, chosen in zip(work, choices(range(len(work))), strict=True):
            lowering.learn(chosen)
