"""Where the layers of a stream loaded something: spans of scratchpads, and who read them last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vta_arch.encoding import Insn
from vta_arch.isa import Memory, Unit

RECENT = 2
"""Layers of which it is known where they loaded something."""

Readers = dict[Unit, int]
"""The instruction of each unit that read last."""


@dataclass(frozen=True)
class Span:
    """Elements [first, beyond) of a scratchpad."""

    memory: Memory
    first: int
    beyond: int

    def overlaps(self, other: Span) -> bool:
        """Whether both have an element."""
        return self.memory == other.memory and self.first < other.beyond and other.first < self.beyond

    def joined(self, other: Span | None) -> Span:
        """The least span that holds both."""
        if other is None:
            return self
        return Span(self.memory, min(self.first, other.first), max(self.beyond, other.beyond))


def filled(insn: Insn, memory: Memory) -> Span:
    """What a LOAD fills."""
    get = insn.fields.get
    rows = get("y_pad_0", 0) + get("y_size", 0) + get("y_pad_1", 0)
    columns = get("x_pad_0", 0) + get("x_size", 0) + get("x_pad_1", 0)
    first = get("sram_base", 0)
    return Span(memory, first, first + rows * columns)


class LoadedSpans:
    """The spans of the last layers one by one, of the layers before only who read last."""

    def __init__(self) -> None:
        self._recent: list[list[tuple[Span, Readers]]] = []
        self._older: dict[Memory, Readers] = defaultdict(dict)

    def end_layer(self, loaded: Iterable[tuple[Span, Readers]]) -> None:
        """What the layer that ends has loaded, and who read it."""
        self._recent.append(list(loaded))
        for span, readers in self._recent.pop(0) if len(self._recent) > RECENT else ():
            last = self._older[span.memory]
            for unit, index in readers.items():
                last[unit] = max(index, last.get(unit, -1))

    def readers(self, span: Span) -> list[Readers]:
        """Who must have read before earlier layers' elements of ``span`` are replaced."""
        recent = (item for layer in self._recent for item in layer)
        return [self._older[span.memory], *(readers for place, readers in recent if place.overlaps(span))]

    def clear_shift(self, memory: Memory, bases: Sequence[int], size: int, room: int) -> int | None:
        """The least distance from all ``bases`` at which the last layers have left ``size`` elements alone.

        ``room``: elements from one base to the next. None if there is none.
        """
        taken = [span for layer in self._recent for span, _ in layer if span.memory == memory]

        def is_clear(shift: int) -> bool:
            spans = [Span(memory, base + shift, base + shift + size) for base in bases]
            return not any(span.overlaps(other) for span in spans for other in taken)

        shifts = sorted({0, *(span.beyond - base for span in taken for base in bases)})
        return next((shift for shift in shifts if 0 <= shift <= room - size and is_clear(shift)), None)
