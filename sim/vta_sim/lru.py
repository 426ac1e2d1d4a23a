"""A dictionary that forgets what was not used for longest once it weighs too much."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Values by key, each with a weight. The weights kept together do not exceed ``budget``."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._weight = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """The value of ``key``, which counts as used now; None if it is not there."""
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value under a new key. One that weighs more than the budget is not kept."""
        if weight > self._budget:
            return
        self._items[key] = value, weight
        self._weight += weight
        while self._weight > self._budget:
            _, (_, freed) = self._items.popitem(last=False)
            self._weight -= freed
