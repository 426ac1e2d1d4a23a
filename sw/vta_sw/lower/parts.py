"""Parts of an axis that tiles go over one after the other, and where a tile is."""

from __future__ import annotations

from dataclasses import dataclass

from vta_arch.layout import ceil_div


@dataclass(frozen=True)
class Part:
    """A part of an axis: its first element and how many."""

    first: int
    count: int


@dataclass(frozen=True)
class Position:
    """Where an output tile is: image, rows, columns."""

    image: int
    rows: Part
    cols: Part


def parts_of(size: int, step: int) -> list[Part]:
    """An axis in as few parts of at most ``step`` elements as can be; they differ by one at most, larger ones first.

    A small part would hide less of the loads behind it.
    """
    number = ceil_div(size, step)
    least, larger = divmod(size, number)
    return [Part(index * least + min(index, larger), least + (index < larger)) for index in range(number)]
