"""Tilings chosen among neighbours: in a stream a layer's first loads and last stores meet those of other layers.

By itself a layer pays for both of its ends; behind another one its loads are hidden, and what counts is how soon the
next layer finds what it needs. So each small layer's good tilings are tried once more between the layers beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .lower.context import Context
from .lower.conv import ConvLowering
from .lower.operators import Lowering
from .lower.stream import StreamBuilder
from .lower.tiling import Tiling
from .lower.timeline import slice_cycles, trial_cost
from .trials import spread

_MOST_CYCLES = 40_000
"""The ends of a longer layer hardly matter."""
_OTHERS = 5
"""Tilings that are tried besides the one that is best for the layer by itself."""
_WORSE = 1.15
"""Times the best cost that a layer by itself may take to be tried."""
_LEAST_TASKS = 8
"""Trials of all layers together that are worth another process."""


def refine(context: Context, lowerings: Sequence[Lowering], progress: Callable[[int, int], None]) -> None:
    """Give the layers of a stream, in their order, the tilings that are best between their neighbours.

    So are those of short layers that tuning found to be the best alone.
    """

    def cost(task: tuple[int, Tiling, Tiling | None]) -> int:
        """Of layer ``number`` with a tiling, behind one that has the tiling ``before``."""
        number, tiling, before = task
        window = lowerings[max(0, number - 1) : number + 2]
        lowering = lowerings[number]
        if before is not None and isinstance(window[0], ConvLowering):
            window[0].tiling = before
        assert isinstance(lowering, ConvLowering)
        return _cost(context, window, lowering, tiling)

    choices = {number: _worth_trying(lowering) for number, lowering in enumerate(lowerings)}
    tasks = sum(len(found) for found in choices.values())
    with spread(cost, context.processes if tasks >= _LEAST_TASKS else 1) as costs_of:
        for number, lowering in enumerate(lowerings):
            progress(number, len(lowerings))
            found = choices[number]
            if not (found and isinstance(lowering, ConvLowering)):
                continue
            last = lowerings[number - 1] if number else None
            before = last.tiling if isinstance(last, ConvLowering) else None
            costs = costs_of([(number, tiling, before) for tiling in found])
            lowering.tiling = found[costs.index(min(costs))]


def _worth_trying(lowering: Lowering) -> list[Tiling]:
    """A layer's tilings that may be the best one among neighbours; none where there is nothing to choose."""
    if not isinstance(lowering, ConvLowering):
        return []
    tried = lowering.tried
    if len(tried) < 2 or tried[0][0] > _MOST_CYCLES:
        return []
    return [tiling for cost, tiling in tried[: _OTHERS + 1] if cost <= _WORSE * tried[0][0]]


def _cost(context: Context, window: Sequence[Lowering], changed: ConvLowering, tiling: Tiling) -> int:
    """Cycles of some layers of a stream one behind the other, and a little for each instruction."""
    stream = StreamBuilder(context.cfg)
    with context.aside():
        for lowering in window:
            stream.begin_layer()
            if isinstance(lowering, ConvLowering):
                lowering.rehearse(context, stream, tiling if lowering is changed else lowering.tiling)
            else:
                lowering.emit(stream)
    insns = stream.finish()
    return trial_cost(slice_cycles(context.cfg, insns, stream.banks), len(insns))
