"""The trials of many layers in several processes; what is chosen is the same for any number of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from .lower.choice import Chosen
from .lower.conv import ConvLowering
from .lower.operators import Lowering

_LEAST_STEPS = 2000
"""Steps of all trials together that are worth another process."""

_lowerings: list[ConvLowering] = []
"""In a process that makes trials: those of the process that it is a copy of."""


def processes_at_hand() -> int:
    """Processors that this process may use; 1 where a process cannot be copied, which trials need."""
    copied = "fork" in multiprocessing.get_all_start_methods()
    return len(os.sched_getaffinity(0)) if copied and hasattr(os, "sched_getaffinity") else 1


def choose_tilings(lowerings: Iterable[Lowering], processes: int) -> None:
    """Choose the tilings of these layers, in ``processes`` processes if that many trials are worth it.

    The processes are copies of this one: layers are large, and what is found of one is small.
    """
    waiting = {item.key(): item for item in lowerings if isinstance(item, ConvLowering) and not item.is_chosen}
    work = sorted(waiting.values(), key=lambda item: -item.trial_steps)
    if processes < 2 or len(work) < 2 or sum(item.trial_steps for item in work) < _LEAST_STEPS:
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(work,)) as pool:
        for lowering, chosen in zip(work, pool.map(_chosen, range(len(work))), strict=True):
            lowering.learn(chosen)


def _begin(lowerings: Sequence[ConvLowering]) -> None:
    # Ctrl-C is for the process that waits for this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _lowerings[:] = lowerings


def _chosen(number: int) -> Chosen:
    return _lowerings[number].choose()
