"""A scratchpad that takes several elements a cycle, at any alignment."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .loader import Loader
from .scratchpad import ReadPort, Scratchpad, WritePort


class LaneMemory(wiring.Component):
    """A :class:`Scratchpad` whose elements lie in turns in ``lanes`` memories (a power of two).

    The write port takes up to ``lanes`` consecutive elements, the first at ``addr``: bit and data word n of the port
    belong to lane n, that is to the one among these elements whose address is n modulo ``lanes``. Past the
    memory's end they go on at its begin. Data one cycle after ``read.en``, as long as ``read.en`` stays low.
    """

    def __init__(self, *, bits: int, depth: int, lanes: int) -> None:
        self._bits, self._depth, self._lanes = bits, depth, lanes
        addr_width = (depth - 1).bit_length()
        super().__init__(
            {"read": In(ReadPort(addr_width, bits)), "write": In(WritePort(addr_width, bits * lanes, lanes))}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        log_lanes = self._lanes.bit_length() - 1
        first_lane, first_row = self.write.addr[:log_lanes], self.write.addr[log_lanes:]
        read_lane = Signal(log_lanes)
        with m.If(self.read.en):
            m.d.sync += read_lane.eq(self.read.addr[:log_lanes])
        words = []
        for lane in range(self._lanes):
            memory = Scratchpad(bits=self._bits, depth=self._depth // self._lanes, granules=1)
            m.submodules[f"lane{lane}"] = memory
            words.append(memory.read.data)
            m.d.comb += [
                memory.write.mask.eq(self.write.mask[lane]),
                memory.write.addr.eq(first_row + (first_lane > lane)),
                memory.write.data.eq(self.write.data.word_select(lane, self._bits)),
                memory.read.en.eq(self.read.en & (self.read.addr[:log_lanes] == lane)),
                memory.read.addr.eq(self.read.addr[log_lanes:]),
            ]
        m.d.comb += self.read.data.eq(Array(words)[read_lane])
        return m


def loaded_scratchpad(m: Module, loader: Loader, *, bits: int, depth: int) -> LaneMemory | Scratchpad:
    """A scratchpad that ``loader`` fills, with its writes connected; the caller makes it a submodule."""
    memory: LaneMemory | Scratchpad
    if loader.lanes > 1:
        memory = LaneMemory(bits=bits, depth=depth, lanes=loader.lanes)
    else:
        memory = Scratchpad(bits=bits, depth=depth, granules=loader.chunks)
    m.d.comb += [
        memory.write.mask.eq(loader.write.select),
        memory.write.addr.eq(loader.write.addr),
        memory.write.data.eq(loader.write.data.replicate(loader.chunks)),
    ]
    return memory
