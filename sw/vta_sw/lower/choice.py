"""The choice among legal tilings: by trial on the cycle model, or what tuning found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from .tiling import Tiling

TilingKey = Hashable
Trial = Callable[[Tiling], int]


class TilingChoice:
    """Chooses tilings, and remembers by key what was tried: ``trials[key]`` are tilings and their cost, best first."""

    def __init__(self, tuned: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """``tuned``: sizes of the best tiling by the text of a key, see :func:`sizes_of`."""
        self.tuned = tuned or {}
        self.trials: dict[TilingKey, tuple[tuple[int, Tiling], ...]] = {}
        self.from_tuning: set[TilingKey] = set()

    def choose(self, key: TilingKey, few: Sequence[Tiling], found: Sequence[Tiling], trial: Trial) -> Tiling:
        """The best of ``few`` by trial, or that of ``found`` (all of them legal) which tuning knows to be the best."""
        known = self.tuned.get(key_text(key))
        for tiling in found if known is not None else ():
            if sizes_of(tiling) == known:
                self.from_tuning.add(key)
                return tiling
        if len(few) < 2:
            return found[0]
        tried = sorted(((trial(tiling), number, tiling) for number, tiling in enumerate(few)))
        self.trials[key] = tuple((cost, tiling) for cost, _, tiling in tried)
        return tried[0][2]


def key_text(key: TilingKey) -> str:
    """A key as the same text in every process."""
    parts = key if isinstance(key, tuple) else (key,)
    return " ".join(part.__name__ if isinstance(part, type) else repr(part) for part in parts)


def sizes_of(tiling: Tiling) -> dict[str, int]:
    """What makes a tiling, without its estimate."""
    return {name: int(value) for name, value in vars(tiling).items() if name != "cycles"}
