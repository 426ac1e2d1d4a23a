"""A scratchpad that takes or gives several elements a cycle, at any alignment."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .loader import Loader
from .scratchpad import ReadPort, Scratchpad, WritePort


class LaneMemory(wiring.Component):
    """A :class:`Scratchpad` whose elements lie in turns in several banks, so that neighbours are in reach together.

    The write port takes up to ``lanes`` consecutive elements, the first at ``addr``: bit and data word n of the port
    belong to lane n, that is to the one among these elements whose address is n modulo ``lanes``. With one lane the
    bits are those of the ``granules`` of its element. The read port gives ``taps`` consecutive elements, the first at
    ``addr``, one cycle after ``read.en``, as long as ``read.en`` stays low. Past the memory's end both go on at its
    begin. ``lanes`` and ``taps`` are powers of two, and ``lanes`` is at most the depth.
    """

    def __init__(self, *, bits: int, depth: int, lanes: int, taps: int = 1, granules: int = 1) -> None:
        self._bits, self._depth, self._lanes, self._taps, self._granules = bits, depth, lanes, taps, granules
        self._banks = max(lanes, min(taps, depth))
        addr_width = (depth - 1).bit_length()
        super().__init__(
            {
                "read": In(ReadPort(addr_width, bits * taps)),
                "write": In(WritePort(addr_width, bits * lanes, lanes * granules)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        memories = []
        for number in range(self._banks):
            memory = Scratchpad(bits=self._bits, depth=self._depth // self._banks, granules=self._granules)
            m.submodules[f"bank{number}"] = memory
            memories.append(memory)
            self._elaborate_write(m, memory, number)
        self._elaborate_read(m, memories)
        return m

    def _elaborate_write(self, m: Module, memory: Scratchpad, number: int) -> None:
        """Bank ``number`` belongs to the lane ``number`` modulo ``lanes``; each lane has several banks or one."""
        log_lanes, log_turns = (count.bit_length() - 1 for count in (self._lanes, self._banks // self._lanes))
        turn, lane = divmod(number, self._lanes)
        row = Signal(len(self.write.addr) - log_lanes, name=f"row_{number}")
        mask = self.write.mask.word_select(lane, self._granules)
        m.d.comb += [
            row.eq(self.write.addr[log_lanes:] + (self.write.addr[:log_lanes] > lane)),
            memory.write.mask.eq(Mux(row[:log_turns] == turn, mask, 0)),
            memory.write.addr.eq(row[log_turns:]),
            memory.write.data.eq(self.write.data.word_select(lane, self._bits)),
        ]

    def _elaborate_read(self, m: Module, memories: list[Scratchpad]) -> None:
        log_banks = self._banks.bit_length() - 1
        first, row = self.read.addr[:log_banks], self.read.addr[log_banks:]
        # Each tap's bank is a number of its own, so that taps share no halves of their choices, see ``twins``. Every
        # other pair has a reset, as the low bits of the numbers of tap n and n + 2 are the same.
        numbers = [Signal(log_banks, name=f"tap_bank_{tap}", reset_less=tap % 4 < 2) for tap in range(self._taps)]
        with m.If(self.read.en):
            m.d.sync += [number.eq(first + tap) for tap, number in enumerate(numbers)]
        for number, memory in enumerate(memories):
            alone = first == number if self._taps == 1 else 1
            m.d.comb += [
                memory.read.en.eq(self.read.en & alone),
                memory.read.addr.eq(row if self._taps == 1 else Mux(first > number, row + 1, row)),
            ]
        words = [memory.read.data for memory in memories]
        m.d.comb += self.read.data.eq(Cat(Array(words)[number] for number in numbers))


def loaded_scratchpad(m: Module, loader: Loader, *, bits: int, depth: int, taps: int = 1) -> LaneMemory | Scratchpad:
    """A scratchpad that ``loader`` fills, with its writes connected; the caller makes it a submodule."""
    memory: LaneMemory | Scratchpad
    if loader.lanes > 1 or taps > 1:
        memory = LaneMemory(bits=bits, depth=depth, lanes=loader.lanes, taps=taps, granules=loader.chunks)
    else:
        memory = Scratchpad(bits=bits, depth=depth, granules=loader.chunks)
    m.d.comb += [
        memory.write.mask.eq(loader.write.select),
        memory.write.addr.eq(loader.write.addr),
        memory.write.data.eq(loader.write.data.replicate(loader.chunks)),
    ]
    return memory
