"""The requantization parameters of a layer on the chip (extension ``requant``)."""

from __future__ import annotations

from vta_arch.encoding import load, store
from vta_arch.isa import Memory

from .context import Context
from .errors import NotLowerableError
from .requantize import Requantization
from .stream import Resource, StreamBuilder


class ReqMemory:
    """Emits the loads of parameters: once a layer where all fit, else those of a tile into the half of its number.

    ``blocks``: output blocks of the largest tile. A layer with one vector of parameters uses it for all its blocks.
    """

    def __init__(self, context: Context, stream: StreamBuilder, plan: Requantization, blocks: int) -> None:
        self._cfg, self._stream = context.cfg, stream
        self._number = len(plan.params)
        self._data = context.pools["requant"].add(plan.params.tobytes()) if self._number else 0
        self._stay = self._number <= self._cfg.req_depth
        self._first = stream.beside(Memory.REQ, self._number) if self._stay else 0
        self._loaded: dict[int, tuple[int, int]] = {}
        self._pending: int | None = None
        if not self._stay and blocks > self._cfg.req_depth // 2:
            raise NotLowerableError(
                f"a tile of {blocks} output blocks needs as many requantization parameters, half of configuration "
                f"{self._cfg.name}'s {self._cfg.req_depth} is free"
            )

    def begin(self, half: int, first: int, blocks: int) -> None:
        """A tile of output blocks [first, first + blocks) in ``half`` begins: note what it needs."""
        wanted = (first, blocks) if not self._stay else (0, self._number)
        place = 0 if self._stay else half
        if self._number and self._loaded.get(place) != wanted:
            self._loaded[place] = wanted
            self._pending = place

    def load(self) -> None:
        """Load what was noted, behind the tile's first product: before it, it would take the bus from its inputs."""
        if self._pending is None:
            return
        half, self._pending = self._pending, None
        first, count = self._loaded[half]
        shape = {"y_size": 1, "x_size": count, "x_stride": count}
        insn = load(self._cfg, Memory.REQ, sram_base=self._base(half), dram_base=self._data + first, **shape)
        self._stream.add_transfer(insn, Memory.REQ, "requant", writes=[self._resource(half)])
        # The tokens of products in one bank say nothing about this load: a STORE of nothing waits for it.
        self._stream.add(store(self._cfg), reads=[self._resource(half)])
        whole = 0, self._cfg.req_depth
        self._stream.used[Memory.REQ] = (self._first, self._first + count) if self._stay else whole

    def _base(self, half: int) -> int:
        return self._first if self._stay else half * (self._cfg.req_depth // 2)

    def _resource(self, half: int) -> Resource:
        return "req", 0 if self._stay else half

    def reads(self, half: int) -> list[Resource]:
        """What a STORE of the tile in ``half`` reads of the parameters."""
        return [self._resource(half)] if self._number else []

    @property
    def first(self) -> int:
        """Where the first block's parameters are, if they stay for the whole layer."""
        return self._first

    def fields(self, half: int, block: int, *, each_row: bool) -> dict[str, int]:
        """Fields of a STORE of output block ``block``; with ``each_row`` each row is the next block."""
        if not self._number:
            return {}
        place = 0 if self._number == 1 else block if self._stay else block - self._loaded[half][0]
        several = {"req_rows": 1} if each_row and self._number > 1 else {}
        return {"requant": 1, "req_index": self._base(half) + place, **several}
