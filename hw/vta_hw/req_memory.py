"""The requantization parameters on the chip."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from vta_arch.config import REQ_CHANNEL_BYTES, VTAConfig
from vta_arch.requant import REQ_FIELDS

from .chunks import ChunkPort
from .layouts import requant_layout

WORD_BITS = 32
CHANNEL_WORDS = REQ_CHANNEL_BYTES * 8 // WORD_BITS
LATE_WORD = 2
"""The word with zero point and limits, needed later than those before it; what lies beyond it is not kept."""


def memory_channels(cfg: VTAConfig) -> int:
    """Channels whose parameters are read in a cycle: the rows of a batch share them."""
    return min(cfg.requant_width, cfg.block_out)


class ReqMemory(wiring.Component):
    """``req_depth`` vectors of parameters, read for the channels that are requantized in one cycle.

    A row is the index of a vector and, below it, the number of a group of :func:`memory_channels` channels. ``early``
    (bias, multiplier, shift, wide) and ``blank`` come a cycle after ``early_row``, ``late`` (zero point, low, high) a
    cycle after ``late_row``. With ``blank`` the vector was filled with padding: its parameters are all zero,
    whatever comes. Where ``low`` is above ``high`` it comes as ``high``, which gives the same results.

    ``write`` takes the chunks of a loader, one a cycle, or all chunks of a vector at once: those are padding. Memory:
    three of 32 bits for each channel of a group, or for each channel of a chunk where these are more.
    """

    def __init__(self, cfg: VTAConfig, *, chunk_bytes: int) -> None:
        self._channels = memory_channels(cfg)
        self._chunk_words = chunk_bytes * 8 // WORD_BITS
        self._columns = max(self._channels, min(cfg.block_out, chunk_bytes // REQ_CHANNEL_BYTES))
        self._parts = cfg.block_out // self._columns
        self._depth = cfg.req_depth
        self.row_bits = cfg.log_req_depth + (cfg.block_out // self._channels).bit_length() - 1
        selects = cfg.req_elem_bytes // chunk_bytes
        super().__init__(
            {
                "write": In(ChunkPort(cfg.log_req_depth, chunk_bytes * 8, selects)),
                "early_row": In(self.row_bits),
                "early": Out(LATE_WORD * WORD_BITS).array(self._channels),
                "blank": Out(1),
                "late_row": In(self.row_bits),
                "late": Out(WORD_BITS).array(self._channels),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        self._elaborate_blanks(m)
        part_bits = (self._parts - 1).bit_length()
        span = len(self.write.select) // self._parts
        selects = [self.write.select[n * span : (n + 1) * span] for n in range(self._parts)]
        part, select = Signal(max(1, part_bits)), Signal(span)
        for number, chosen in enumerate(selects):
            with m.If(chosen.any()):
                m.d.comb += [part.eq(number), select.eq(chosen)]
        write_row = Cat(part[:part_bits], self.write.addr)

        found: dict[tuple[int, int], Value] = {}
        for column in range(self._columns):
            for word in range(LATE_WORD + 1):
                chunk, place = divmod(CHANNEL_WORDS * column + word, self._chunk_words)
                memory = Memory(shape=WORD_BITS, depth=self._depth * self._parts, init=[])
                m.submodules[f"word{word}_{column}"] = memory
                write, read = memory.write_port(), memory.read_port()
                value = self.write.data.word_select(place, WORD_BITS)
                row = self.late_row if word == LATE_WORD else self.early_row
                m.d.comb += [
                    write.en.eq(select[chunk]),
                    write.addr.eq(write_row),
                    write.data.eq(_ordered(value) if word == LATE_WORD else value),
                    read.addr.eq(row[self.row_bits - len(read.addr) :]),
                ]
                found[word, column] = read.data
        self._elaborate_outputs(m, found)
        return m

    def _elaborate_blanks(self, m: Module) -> None:
        """A vector in several rows cannot be filled with zero bits in one cycle: a bit stands for them."""
        if self._parts == 1:
            return
        m.submodules.blanks = blanks = Memory(shape=1, depth=self._depth, init=[])
        write, read = blanks.write_port(), blanks.read_port()
        m.d.comb += [
            write.en.eq(self.write.select.any()),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.select.all()),
            read.addr.eq(self.early_row[self.row_bits - len(read.addr) :]),
            self.blank.eq(read.data),
        ]

    def _elaborate_outputs(self, m: Module, found: dict[tuple[int, int], Value]) -> None:
        """Chooses the group among the columns."""
        groups = self._columns // self._channels
        group_bits = (groups - 1).bit_length()
        early, late = (Signal(max(1, group_bits), name=n, reset_less=True) for n in ("early_group", "late_group"))
        m.d.sync += [early.eq(self.early_row[:group_bits]), late.eq(self.late_row[:group_bits])]
        for channel in range(self._channels):
            columns = range(channel, self._columns, self._channels)
            words = [Cat(*(found[word, column] for column in columns)) for word in range(LATE_WORD + 1)]
            m.d.comb += [
                self.early[channel].eq(Cat(value.word_select(early, WORD_BITS) for value in words[:LATE_WORD])),
                self.late[channel].eq(words[LATE_WORD].word_select(late, WORD_BITS)),
            ]


def _ordered(word: Value) -> Value:
    """The third word of a channel with ``low`` at most ``high``."""
    fields = data.View(requant_layout(), Cat(Const(0, LATE_WORD * WORD_BITS), word, Const(0, WORD_BITS)))
    low = REQ_FIELDS["low"]
    first, end = low.low - LATE_WORD * WORD_BITS, low.high + 1 - LATE_WORD * WORD_BITS
    return Cat(word[:first], Mux(fields.low > fields.high, fields.high, fields.low)[: low.width], word[end:])
