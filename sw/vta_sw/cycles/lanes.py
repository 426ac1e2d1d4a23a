"""The requantizer's lanes, which STORE and the ALU operation REQ share."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 16
"""Uses of the lanes that a new one may meet; older ones have long ended."""


class RequantLanes:
    """Two clients take turns when both ask: what one uses of the other's time comes to the other's end."""

    def __init__(self) -> None:
        self._uses: deque[tuple[float, float, float]] = deque(maxlen=_REMEMBERED)

    def use(self, begin: float, cycles: float, work: float) -> float:
        """Cycles of a use that would take ``cycles`` by itself, during ``work`` of which it has the lanes."""
        end = begin + cycles
        for first, last, density in sorted(self._uses):
            shared = min(end, last) - max(begin, first)
            if shared > 0:
                # Only where both together are more than the lanes can do.
                end += shared * max(0.0, density + work / cycles - 1)
        self._uses.append((begin, end, work / (end - begin)))
        return end - begin
