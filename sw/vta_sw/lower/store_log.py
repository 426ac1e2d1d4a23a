"""Which STORE of a stream last wrote what a LOAD reads."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, memory_elem_bytes

Bytes = NDArray[np.int64]


@dataclass(frozen=True)
class _Rows:
    """Bytes of a tensor that a transfer touches: rows [first, first + size) each."""

    first: Bytes
    size: int

    @classmethod
    def of(cls, insn: Insn, elem_bytes: int) -> _Rows:
        get = insn.fields.get
        rows = np.arange(get("y_size", 0), dtype=np.int64) * get("x_stride", 0) + get("dram_base", 0)
        return cls(rows * elem_bytes, get("x_size", 0) * elem_bytes)

    @property
    def ends(self) -> tuple[int, int]:
        """First byte, and the one behind the last."""
        return int(self.first[0]), int(self.first[-1]) + self.size

    def overlaps(self, other: _Rows) -> bool:
        (first, beyond), (other_first, other_beyond) = self.ends, other.ends
        if first >= other_beyond or other_first >= beyond:
            return False
        mine, others = self.first[:, None], other.first[None, :]
        return bool(np.any((mine < others + other.size) & (others < mine + self.size)))


class StoreLog:
    """The STOREs of a stream by tensor. Their dram_base must still count from the tensor's start."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._stores: dict[str, list[tuple[int, _Rows]]] = defaultdict(list)

    def add(self, tensor: str, index: int, insn: Insn) -> None:
        """Note the STORE ``insn`` with the number ``index`` in the stream."""
        rows = _Rows.of(insn, self._cfg.out_elem_bytes)
        if len(rows.first) and rows.size:
            self._stores[tensor].append((index, rows))

    def has(self, tensor: str) -> bool:
        """Whether the stream stores to ``tensor``."""
        return tensor in self._stores

    def newest(self, tensor: str) -> int:
        """Number of the last STORE to ``tensor``."""
        return self._stores[tensor][-1][0]

    def newest_under(self, tensor: str, insn: Insn, memory: Memory, *, after: int) -> int | None:
        """Number of the last STORE behind ``after`` that wrote something that the LOAD ``insn`` reads."""
        rows = _Rows.of(insn, memory_elem_bytes(self._cfg, memory))
        if not len(rows.first) or not rows.size:
            return None
        for index, stored in reversed(self._stores[tensor]):
            if index <= after:
                return None
            if stored.overlaps(rows):
                return index
        return None
