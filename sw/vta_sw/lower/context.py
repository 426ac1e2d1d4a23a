"""What the lowering of all layers shares: constant pools, and the micro-op memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import encode_uops, load
from vta_arch.isa import Memory, memory_elem_bytes

from .choice import TilingChoice
from .stream import StreamBuilder
from .tiling import Tiling

SEGMENTS: dict[str, Memory] = {
    "uops": Memory.UOP,
    "weights": Memory.WGT,
    "biases": Memory.ACC,
    "requant": Memory.REQ,
}
"""Constant segments of a program, and the memory type whose elements they hold."""

UopTable = NDArray[np.int64]


class ConstantPool:
    """Bytes of one segment; the same data is stored once."""

    def __init__(self, elem_bytes: int) -> None:
        self._elem_bytes = elem_bytes
        self._parts: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._size = 0

    def add(self, data: bytes) -> int:
        """Index of the first element of ``data`` (whole elements) in the segment."""
        if data not in self._places:
            self._places[data] = self._size // self._elem_bytes
            self._parts.append(data)
            self._size += len(data)
        return self._places[data]

    def data(self) -> bytes:
        """All bytes of the segment."""
        return b"".join(self._parts)


class Context:
    """One compilation: its configuration and constant pools."""

    def __init__(self, cfg: VTAConfig, choice: TilingChoice | None = None, processes: int = 1) -> None:
        """``processes``: how many make trials."""
        self.cfg, self.processes = cfg, processes
        self.choice = choice or TilingChoice()
        self.tilings: dict[Hashable, Tiling] = {}
        self.cycles: dict[Hashable, dict[Hashable, int]] = defaultdict(dict)
        """Of a layer's key and its sizes: a tiling, or what stands for one."""
        self.chunks: dict[Hashable, tuple[int, int]] = {}
        self.pools = _pools(cfg)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is emitted inside the block is thrown away: its constants leave no trace."""
        kept, self.pools = self.pools, _pools(self.cfg)
        try:
            yield
        finally:
            self.pools = kept


def _pools(cfg: VTAConfig) -> dict[str, ConstantPool]:
    return {name: ConstantPool(memory_elem_bytes(cfg, memory)) for name, memory in SEGMENTS.items()}


class UopCache:
    """The micro-op memory during one layer.

    Sequences are placed one after the other; when one does not fit, a new generation starts at 0. One LOAD UOP at
    the start of a generation brings all its sequences. LOAD UOP and the instructions that use micro-ops run in the
    same unit, in order, so no tokens are needed. The first generation stands behind the micro-ops of the layer before,
    where it can be loaded while they are used. Call :meth:`finish` after the last instruction.
    """

    def __init__(self, context: Context, stream: StreamBuilder) -> None:
        self._context, self._stream = context, stream
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._words: list[NDArray[np.uint32]] = []
        self._generations = 0
        depth = context.cfg.uop_depth
        self._start(stream.beside(Memory.UOP, depth // 2))

    def _start(self, base: int) -> None:
        self._base = self._free = base
        self._generations += 1
        self._load = load(self._context.cfg, Memory.UOP, y_size=1, sram_base=base)
        self._index = self._stream.add_transfer(self._load, Memory.UOP, "uops")

    def place(self, key: Hashable, make: Callable[[], UopTable], *, spare: int = 0) -> dict[str, int]:
        """Fields uop_bgn and uop_end of the sequence that ``make`` builds ([n, 3]: dst, src, wgt).

        ``spare``: so many more micro-ops can be placed before this sequence is overwritten.
        """
        depth = self._context.cfg.uop_depth
        if key in self._places and self._free + spare > depth:
            self._next_generation()
        if key not in self._places:
            words = encode_uops(self._context.cfg, make())
            if self._free + len(words) + spare > depth:
                self._next_generation()
            self._words.append(words)
            self._places[key] = self._free, self._free + len(words)
            self._free += len(words)
        first, last = self._places[key]
        return {"uop_bgn": first, "uop_end": last}

    def _next_generation(self) -> None:
        self._end_generation()
        self._places.clear()
        self._words = []
        self._start(0)

    def _end_generation(self) -> None:
        """Let the LOAD of this generation bring what was placed since."""
        size = self._free - self._base
        if not size:
            return
        data = np.concatenate(self._words).astype("<u4").tobytes()
        self._load.fields.update(dram_base=self._context.pools["uops"].add(data), x_size=size, x_stride=size)
        if self._generations == 1:
            self._stream.hoist(Memory.UOP, [self._index], self._base, self._free)

    def finish(self) -> None:
        """The layer has all its instructions."""
        self._end_generation()
        whole = 0, self._context.cfg.uop_depth
        self._stream.used[Memory.UOP] = (self._base, self._free) if self._generations == 1 else whole


class SlotCache:
    """Which tile is in which slot of a scratchpad; the slot that was used longest ago is replaced."""

    def __init__(self, slots: int, first: int = 0) -> None:
        """``first``: the slot that is taken first."""
        self._slots, self._first = slots, first
        self._keys: dict[Hashable, int] = {}

    def get(self, key: Hashable) -> tuple[int, bool]:
        """The slot of ``key``, and whether it must be loaded."""
        missing = key not in self._keys
        if not missing:
            slot = self._keys.pop(key)
        elif len(self._keys) < self._slots:
            slot = (len(self._keys) + self._first) % self._slots
        else:
            slot = self._keys.pop(next(iter(self._keys)))
        self._keys[key] = slot
        return slot, missing
