"""The choice among legal tilings: by trial on the cycle model, or what tuning found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tiling import Tiling

if TYPE_CHECKING:
    from .context import Context
    from .stream import StreamBuilder

TilingKey = Hashable
Trial = Callable[[Tiling], int]
Sample = Callable[[Tiling], tuple["Context", "StreamBuilder"]]
"""From a tiling to the layer's instructions with it, and the constants that they need."""


@dataclass(frozen=True)
class Chosen:
    """A layer's tiling, what was tried with its cost, cycles by tiling, and whether tuning knew the best one."""

    tiling: Tiling
    trials: tuple[tuple[int, Tiling], ...] | None
    cycles: dict[Hashable, int]
    tuned: bool


class TilingChoice:
    """Chooses tilings, and remembers by key what was tried: ``trials[key]`` are tilings and their cost, best first.

    What tuning knows to be the best tiling is the first one, whatever its trial says.
    """

    def __init__(self, tuned: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """``tuned``: sizes of the best tiling by the text of a key, see :func:`sizes_of`."""
        self.tuned = tuned or {}
        self.trials: dict[TilingKey, tuple[tuple[int, Tiling], ...]] = {}
        self.from_tuning: set[TilingKey] = set()

    def choose(
        self, key: TilingKey, few: Sequence[Tiling], found: Sequence[Tiling], trial: Trial, sample: Sample
    ) -> Tiling:
        """The best of ``few`` by trial, or that of ``found`` (all of them legal) which tuning knows to be the best.

        ``sample`` is for choices that measure.
        """
        del sample
        known = self.tuned.get(key_text(key))
        tuned = next((tiling for tiling in found if sizes_of(tiling) == known), None)
        if tuned is not None:
            self.from_tuning.add(key)
            few = [tuned, *(tiling for tiling in few if tiling != tuned)]
        if len(few) < 2:
            return tuned or found[0]
        tried = sorted((tiling != tuned, trial(tiling), number, tiling) for number, tiling in enumerate(few))
        self.trials[key] = tuple((cost, tiling) for _, cost, _, tiling in tried)
        return tried[0][-1]

    def chosen(self, key: TilingKey, tiling: Tiling, cycles: dict[Hashable, int]) -> Chosen:
        """What was found of a layer, for another process."""
        return Chosen(tiling, self.trials.get(key), cycles, key in self.from_tuning)

    def learn(self, key: TilingKey, chosen: Chosen) -> None:
        """What another process found of a layer."""
        if chosen.trials is not None:
            self.trials[key] = chosen.trials
        if chosen.tuned:
            self.from_tuning.add(key)


def key_text(key: TilingKey) -> str:
    """A key as the same short text in every process: what it is, and a hash of the rest."""
    parts = key if isinstance(key, tuple) else (key,)
    texts = [part.__name__ if isinstance(part, type) else repr(part) for part in parts]
    return f"{texts[0]} {hashlib.sha256(' '.join(texts).encode()).hexdigest()[:32]}"


def sizes_of(tiling: Tiling) -> dict[str, int]:
    """What makes a tiling, without its estimate."""
    return {name: int(value) for name, value in vars(tiling).items() if name != "cycles"}
