"""How elements come over the bus: whole, or in chunks of a bus word."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from vta_arch.config import VTAConfig
from vta_arch.isa import Memory, memory_elem_bytes, sram_depth


class ChunkPort(wiring.Signature):
    """Scratchpad writes of a loader: a chunk of one element, or several whole elements.

    Elements as wide as the bus or wider: ``select`` enables the chunks (bus words) of the element ``addr``,
    ``data`` is one chunk. Narrower elements: ``data`` holds ``lanes`` elements and ``select`` enables them; they are
    consecutive from ``addr`` on, each in the lane of its address modulo ``lanes``.
    """

    def __init__(self, addr_width: int, data_bits: int, selects: int) -> None:
        super().__init__({"select": Out(selects), "addr": Out(addr_width), "data": Out(data_bits)})


@dataclass(frozen=True)
class Format:
    """How the elements of a memory come over the bus."""

    elem_bytes: int
    depth: int
    chunk_bytes: int
    """What a beat brings of an element: all of it, or as much as the bus is wide."""
    bus_lanes: int
    """Elements, or else one chunk, of a bus word."""
    byte_bits: int = 8
    """Bits that are written of a byte; where they are more, its sign is repeated."""

    @staticmethod
    def of(cfg: VTAConfig, memory: Memory, *, byte_bits: int = 8) -> Format:
        """That of ``memory`` on the configuration's bus."""
        elem, bus = memory_elem_bytes(cfg, memory), cfg.axi_data_width // 8
        chunk = min(elem, bus)
        return Format(elem, sram_depth(cfg, memory), chunk, bus // chunk, byte_bits)

    @property
    def written_bits(self) -> int:
        """Bits that are written of a chunk."""
        return self.chunk_bytes * self.byte_bits

    def written(self, chunk: Value) -> Value:
        """A chunk as it is written."""
        values = [chunk.word_select(n, 8) for n in range(self.chunk_bytes)]
        return Cat(Cat(value, value[-1].replicate(self.byte_bits - 8)) for value in values)

    @property
    def chunks(self) -> int:
        """Chunks of an element."""
        return self.elem_bytes // self.chunk_bytes

    @property
    def log_elem(self) -> int:
        return self.elem_bytes.bit_length() - 1

    @property
    def addr_width(self) -> int:
        return (self.depth - 1).bit_length()
