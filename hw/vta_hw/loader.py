"""Fills scratchpads from DRAM: strided rows, with padding around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode, memory_elem_bytes, sram_depth

from .axi import ReadSignature, is_error
from .burst import BurstGenerator
from .chunks import ChunkPort, Format
from .countdown import Countdown
from .layouts import insn_layout, load_padding, load_rows
from .walker import Walker

QUEUED = 4
"""LOADs whose data are still to come, besides the one whose data arrive."""


class Loader(wiring.Component):
    """Executes LOADs of some ``memories``, in order.

    ``start`` takes ``insn``, a LOAD of one of them, while ``ready``; requests run ahead of the data, into the LOADs
    that follow. ``done`` pulses with the last write of each LOAD, in order. ``busy`` has a bit for each memory, high
    while a LOAD of it is under way. ``bus`` never waits for anything but this loader's own padding. ``write`` is for
    the memory of the number ``target``: see :meth:`chunks_for`.

    Throughput: a bus word a cycle, or a padding element; also from one LOAD to the next. With ``lanes`` = 1, elements
    narrower than the bus come one a cycle; with ``lanes`` = :meth:`full_lanes`, of one memory only, a bus word a cycle.

    The signed bytes of ``extended`` memories come as accumulators: before the register of ``write`` the choice between
    these and the words of other memories takes no LUT of its own.
    """

    def __init__(self, cfg: VTAConfig, *memories: Memory, lanes: int = 1, extended: Sequence[Memory] = ()) -> None:
        assert lanes == 1 or len(memories) == 1, "elements come several at a time for one memory only"
        self._cfg, self._memories = cfg, memories
        self._bus_bytes = cfg.axi_data_width // 8
        self._padded_as = [Memory.ACC if memory in extended else memory for memory in memories]
        self.formats = {
            memory: Format.of(cfg, memory, byte_bits=cfg.acc_width if memory in extended else 8) for memory in memories
        }
        self.chunk_bytes = max(item.chunk_bytes for item in self.formats.values())
        self.chunks = max(item.chunks for item in self.formats.values())
        self.lanes = lanes
        self._word_bits = max(item.written_bits for item in self.formats.values())
        self._bus_lanes = max(item.bus_lanes for item in self.formats.values())
        self._addr_width = max(item.addr_width for item in self.formats.values())
        nothing = self._view(Const(0, INSN_BITS))
        self._pad_bits = max(len(load_padding(cfg, nothing, memory)) for memory in self._padded_as)
        self._layout = data.StructLayout(
            {
                **dict.fromkeys(("sram_base", "x_size", "y_size"), 16),
                **dict.fromkeys(("x_pad_0", "x_pad_1", "y_pad_0", "y_pad_1"), 4),
                "memory": (len(memories) - 1).bit_length(),
                "pad": self._pad_bits,
                "lane": (self._bus_lanes - 1).bit_length(),
                "lane_stride": (self._bus_lanes - 1).bit_length(),
            }
        )
        super().__init__(
            {
                "start": In(1),
                "ready": Out(1),
                "insn": In(INSN_BITS),
                "base": In(cfg.axi_addr_width),
                "done": Out(1),
                "busy": Out(len(memories)),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "write": Out(ChunkPort(self._addr_width, self._word_bits * lanes, self.chunks * lanes)),
                "target": Out(range(len(memories))),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    @staticmethod
    def full_lanes(cfg: VTAConfig, memory: Memory) -> int:
        """Elements of ``memory`` in a bus word, as far as the scratchpad can be cut into so many lanes."""
        lanes = max(1, cfg.axi_data_width // 8 // memory_elem_bytes(cfg, memory))
        return lanes if 2 * lanes <= sram_depth(cfg, memory) else 1

    def chunks_for(self, memory: Memory) -> tuple[Value, Value, Value]:
        """``select``, ``addr`` and ``data`` of the write port as the port of ``memory``, which has a lane."""
        mine, size = self.target == self._memories.index(memory), self.formats[memory]
        select = self.write.select[: size.chunks] & mine.replicate(size.chunks)
        return select, self.write.addr[: size.addr_width], self.write.data[: size.written_bits]

    def _by_memory(self, number: Value, values: Iterable[ValueLike]) -> Value:
        """That of the ``values``, one for each memory, which belongs to the memory of the ``number``."""
        choices = list(values)
        chosen: Value = Array(choices)[number] if len(choices) > 1 else Value.cast(choices[0])
        return chosen

    def _view(self, insn: Value) -> data.View:
        return data.View(insn_layout(self._cfg, Opcode.LOAD), insn)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFO(width=self._layout.size, depth=QUEUED)
        insn = self._view(self.insn)
        taken = Signal()
        asked = Signal(range(len(self._memories)))
        for number, memory in enumerate(self._memories):
            with m.If(insn.memory_type == memory):
                m.d.comb += asked.eq(number)
            under_way = Signal(range(QUEUED + 2), name=f"{memory.name.lower()}_under_way")
            finishes = self.done & (self.target == number)
            m.d.comb += self.busy[number].eq(under_way != 0)
            m.d.sync += under_way.eq(under_way + (taken & (asked == number)) - finishes)
        m.d.comb += [taken.eq(self.start & self.ready), queue.w_en.eq(taken)]
        idle = self._elaborate_requests(m, insn, asked, taken)
        m.d.comb += self.ready.eq(queue.w_rdy & idle)
        self._enqueue(m, insn, asked, queue)
        self._elaborate_data(m, queue)
        m.d.comb += self.bus_error.eq(self.bus.r.valid & self.bus.r.ready & is_error(self.bus.r.payload.resp))
        return m

    def _enqueue(self, m: Module, insn: data.View, asked: Value, queue: SyncFIFO) -> None:
        entry = data.View(self._layout, Signal(self._layout.size, name="entry"))
        m.d.comb += queue.w_data.eq(entry)
        for name in self._layout.members:
            if name not in ("y_size", "memory", "pad", "lane", "lane_stride"):
                m.d.comb += entry[name].eq(insn[name])
        pads = [load_padding(self._cfg, insn, memory) for memory in self._padded_as]
        m.d.comb += [
            entry.y_size.eq(load_rows(self._cfg, insn)),
            entry.memory.eq(asked),
            entry.pad.eq(self._by_memory(asked, (pad.replicate(self._pad_bits // len(pad)) for pad in pads))),
            entry.lane.eq(self._lane_of(asked, insn.dram_base)),
            entry.lane_stride.eq(self._lane_of(asked, insn.x_stride)),
        ]

    def _lane_of(self, number: Value, position: Value) -> Value:
        """The lane of an element in its bus word."""
        return self._by_memory(number, (position[: item.bus_lanes.bit_length() - 1] for item in self.formats.values()))

    def _elaborate_requests(self, m: Module, insn: data.View, asked: Value, taken: Value) -> Value:
        """One row after the other to the burst generator; returns whether the next LOAD may come."""
        cfg = self._cfg
        size_width = len(insn.x_size) + max(item.log_elem for item in self.formats.values())
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width, bus_bytes=self._bus_bytes, size_width=size_width
        )
        connect(m, bursts.burst, flipped(self.bus.ar))
        rows = Countdown(len(insn.y_size), "rows")
        addr = Signal(cfg.axi_addr_width, reset_less=True)
        size, stride = (Signal(size_width, name=name, reset_less=True) for name in ("row_size", "row_stride"))
        in_bytes = {
            name: self._by_memory(asked, (insn[name] << item.log_elem for item in self.formats.values()))
            for name in ("dram_base", "x_size", "x_stride")
        }
        m.d.comb += [
            bursts.row.valid.eq(rows.value != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(size),
        ]
        with m.If(taken):
            m.d.sync += [
                addr.eq(self.base + in_bytes["dram_base"]),
                size.eq(in_bytes["x_size"]),
                stride.eq(in_bytes["x_stride"]),
            ]
            rows.set(m, Mux(insn.x_size == 0, 0, load_rows(cfg, insn)))
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += addr.eq(addr + stride)
            rows.step(m)
        return rows.value == 0

    def _elaborate_data(self, m: Module, queue: SyncFIFO) -> None:
        """Walks over all elements, padding included, and writes them."""
        incoming = data.View(self._layout, queue.r_data)
        current = data.View(self._layout, Signal(self._layout.size, name="current", reset_less=True))
        active, nothing, finished, taken = Signal(), Signal(reset_less=True), Signal(), Signal()
        x, y = Walker("x", len(current.x_size)), Walker("y", len(current.y_size))
        is_data = Signal()
        m.d.comb += [
            is_data.eq(x.inside & y.inside),
            taken.eq(queue.r_rdy & (~active | finished)),
            queue.r_en.eq(taken),
        ]
        room, word_done = self._elaborate_beats(m, incoming, current, taken, active & ~nothing & is_data, x)
        moves = active & ~nothing & (~is_data | (self.bus.r.valid & word_done))
        x.advance(m, current, moves, room)
        row_ends = x.ends(current, room)
        y.advance(m, current, moves & row_ends, 1)
        m.d.comb += finished.eq(active & (nothing | (moves & row_ends & y.ends(current, 1))))
        with m.If(taken):
            m.d.sync += [
                current.eq(incoming),
                nothing.eq((incoming.x_size == 0) | (incoming.y_size == 0)),
                active.eq(1),
            ]
            x.start(m, incoming)
            y.start(m, incoming)
        with m.Elif(finished):
            m.d.sync += active.eq(0)
        m.d.sync += self.done.eq(finished)
        self._elaborate_writes(m, incoming, current, taken, active & ~nothing, is_data, moves, x.left, room)

    def _elaborate_beats(
        self, m: Module, incoming: data.View, current: data.View, taken: Value, wanted: Value, x: Walker
    ) -> tuple[Value, Value]:
        """Takes beats. Returns how many elements fit into this cycle, and whether a beat completes them."""
        beat, formats = self.bus.r, self.formats.values()
        self._chunk_select, self._lane = Signal(self.chunks, init=1), Signal(range(self._bus_lanes))
        last_chunk = self._by_memory(current.memory, (self._chunk_select[item.chunks - 1] for item in formats))
        with m.If(wanted & beat.valid):
            m.d.sync += self._chunk_select.eq(Mux(last_chunk, 1, self._chunk_select << 1))
        if self._bus_lanes == 1:
            m.d.comb += beat.ready.eq(wanted)
            return Const(1), last_chunk
        row_lane = Signal.like(self._lane)
        ready, room = Signal(), Signal(range(self.lanes + 1))
        if self.lanes == 1:
            last_lane = self._by_memory(current.memory, (self._lane == item.bus_lanes - 1 for item in formats))
            m.d.comb += [room.eq(1), ready.eq(last_lane | (x.left == 1))]
        else:
            m.d.comb += [room.eq(Mux(wanted, self._bus_lanes - self._lane, self.lanes)), ready.eq(1)]
        m.d.comb += beat.ready.eq(wanted & ready)
        with m.If(taken):
            m.d.sync += [self._lane.eq(incoming.lane), row_lane.eq(incoming.lane)]
        with m.Elif(wanted & beat.valid):
            m.d.sync += self._lane.eq(self._lane_of(current.memory, self._lane + 1) if self.lanes == 1 else 0)
            with m.If(x.left <= room):
                following = self._lane_of(current.memory, row_lane + current.lane_stride)
                m.d.sync += [self._lane.eq(following), row_lane.eq(following)]
        return room, last_chunk

    def _elaborate_writes(
        self,
        m: Module,
        incoming: data.View,
        current: data.View,
        taken: Value,
        active: Value,
        is_data: Value,
        moves: Value,
        left: Signal,
        room: Value,
    ) -> None:
        """The register stage before the scratchpad, its addresses, and what lies beyond its end."""
        base, formats = incoming.sram_base, self.formats.values()
        fits = left <= room
        some = left[: self.lanes.bit_length()]
        count = Mux(fits, some, room) if self.lanes > 1 else Const(1)
        addr = Signal(len(self.write.addr), reset_less=True)
        following = Signal(len(addr) + 1)
        wrapped = Signal()
        m.d.comb += following.eq(addr + count)
        with m.If(taken):
            beyond = self._by_memory(incoming.memory, (base >= item.depth for item in formats))
            m.d.sync += [addr.eq(base), wrapped.eq(beyond)]
        with m.Elif(moves):
            passed = self._by_memory(current.memory, (following[item.addr_width] for item in formats))
            m.d.sync += [addr.eq(following), wrapped.eq(wrapped | passed)]
        over = wrapped
        padded = active & ~is_data
        arrived = active & is_data & self.bus.r.valid
        if self.lanes == 1:
            select: Value = Mux(padded, (1 << self.chunks) - 1, Mux(arrived, self._chunk_select, 0))
            beat = self.bus.r.payload.data
            chunks = [item.written(beat.word_select(self._lane, item.chunk_bytes * 8)) for item in formats]
            word = self._by_memory(current.memory, (chunk.replicate(self._word_bits // len(chunk)) for chunk in chunks))
        else:
            log_lanes = self.lanes.bit_length() - 1
            place = addr[:log_lanes]
            passes = Mux(fits, place + some > self.lanes, place + room > self.lanes)
            over = wrapped | (addr[log_lanes:].all() & passes)
            enabled = Cat(count > n for n in range(self.lanes))
            select = Mux(moves, _rotate(enabled, place, 1), 0)
            word = _rotate(self.bus.r.payload.data, (place - self._lane)[: len(place)], self.chunk_bytes * 8)
        m.d.sync += [
            self.write.select.eq(select),
            self.write.addr.eq(addr),
            self.write.data.eq(Mux(padded, current.pad.replicate(len(word) // len(current.pad)), word)),
            self.target.eq(current.memory),
            self.range_error.eq(moves & over),
        ]


def _rotate(value: Value, places: Value, unit: int) -> Value:
    """``value`` rotated to the left by ``places`` units of ``unit`` bits, stage by stage."""
    result = value
    for stage in range(len(places)):
        result = Mux(places[stage], result.rotate_left(unit << stage), result)
    return result
