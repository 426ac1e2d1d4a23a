"""Fills a scratchpad from DRAM: strided rows, with padding around them."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode, memory_elem_bytes, sram_depth

from .axi import ReadSignature, is_error
from .burst import BurstGenerator
from .layouts import insn_layout, load_padding, load_rows
from .walker import Walker

QUEUED = 4
"""LOADs whose data are still to come, besides the one whose data arrive."""


class ChunkPort(wiring.Signature):
    """Scratchpad writes of a loader: a chunk of one element, or several whole elements.

    Elements as wide as the bus or wider: ``select`` enables the chunks (bus words) of the element ``addr``,
    ``data`` is one chunk. Narrower elements: ``data`` holds ``lanes`` elements and ``select`` enables them; they are
    consecutive from ``addr`` on, each in the lane of its address modulo ``lanes``.
    """

    def __init__(self, addr_width: int, data_bits: int, selects: int) -> None:
        super().__init__({"select": Out(selects), "addr": Out(addr_width), "data": Out(data_bits)})


class Loader(wiring.Component):
    """Executes LOADs of one memory type, in order.

    ``start`` takes ``insn`` while ``ready``; requests run ahead of the data, into the LOADs that follow. ``done``
    pulses with the last write of each LOAD, in order. ``busy`` is high while one is under way. ``bus`` never waits
    for anything but this loader's own padding.

    Throughput: a bus word a cycle, or a padding element; also from one LOAD to the next. With ``lanes`` = 1, elements
    narrower than the bus come one a cycle; with ``lanes`` = :meth:`full_lanes` a bus word a cycle.
    """

    def __init__(self, cfg: VTAConfig, memory: Memory, *, lanes: int = 1) -> None:
        self._cfg, self._memory = cfg, memory
        self._bus_bytes = cfg.axi_data_width // 8
        self._elem_bytes = memory_elem_bytes(cfg, memory)
        self._depth = sram_depth(cfg, memory)
        self.chunk_bytes = min(self._elem_bytes, self._bus_bytes)
        self.chunks = self._elem_bytes // self.chunk_bytes
        self.lanes = lanes
        self._bus_lanes = self._bus_bytes // self.chunk_bytes
        self._pad_bits = len(load_padding(cfg, self._view(Const(0, INSN_BITS)), memory))
        self._layout = data.StructLayout(
            {
                **dict.fromkeys(("sram_base", "x_size", "y_size"), 16),
                **dict.fromkeys(("x_pad_0", "x_pad_1", "y_pad_0", "y_pad_1"), 4),
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
                "busy": Out(1),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "write": Out(
                    ChunkPort((self._depth - 1).bit_length(), self.chunk_bytes * 8 * lanes, self.chunks * lanes)
                ),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    @staticmethod
    def full_lanes(cfg: VTAConfig, memory: Memory) -> int:
        """Elements of ``memory`` in a bus word, as far as the scratchpad can be cut into so many lanes."""
        lanes = max(1, cfg.axi_data_width // 8 // memory_elem_bytes(cfg, memory))
        return lanes if 2 * lanes <= sram_depth(cfg, memory) else 1

    def _view(self, insn: Value) -> data.View:
        return data.View(insn_layout(self._cfg, Opcode.LOAD), insn)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFO(width=self._layout.size, depth=QUEUED)
        insn = self._view(self.insn)
        taken = Signal()
        under_way = Signal(range(QUEUED + 2))
        m.d.comb += [taken.eq(self.start & self.ready), queue.w_en.eq(taken), self.busy.eq(under_way != 0)]
        m.d.sync += under_way.eq(under_way + taken - self.done)
        idle = self._elaborate_requests(m, insn, taken)
        m.d.comb += self.ready.eq(queue.w_rdy & idle)
        self._enqueue(m, insn, queue)
        self._elaborate_data(m, queue)
        m.d.comb += self.bus_error.eq(self.bus.r.valid & self.bus.r.ready & is_error(self.bus.r.payload.resp))
        return m

    def _enqueue(self, m: Module, insn: data.View, queue: SyncFIFO) -> None:
        entry = data.View(self._layout, Signal(self._layout.size, name="entry"))
        m.d.comb += queue.w_data.eq(entry)
        for name in self._layout.members:
            if name not in ("y_size", "pad", "lane", "lane_stride"):
                m.d.comb += entry[name].eq(insn[name])
        m.d.comb += [
            entry.y_size.eq(load_rows(self._cfg, insn)),
            entry.pad.eq(load_padding(self._cfg, insn, self._memory)),
            entry.lane.eq(insn.dram_base),
            entry.lane_stride.eq(insn.x_stride),
        ]

    def _elaborate_requests(self, m: Module, insn: data.View, taken: Value) -> Value:
        """One row after the other to the burst generator; returns whether the next LOAD may come."""
        cfg, log_elem = self._cfg, self._elem_bytes.bit_length() - 1
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width, bus_bytes=self._bus_bytes, size_width=len(insn.x_size) + log_elem
        )
        connect(m, bursts.burst, flipped(self.bus.ar))
        rows = Signal(len(insn.y_size))
        addr = Signal(cfg.axi_addr_width, reset_less=True)
        size, stride = (Signal(len(insn.x_size), name=name, reset_less=True) for name in ("row_size", "row_stride"))
        m.d.comb += [
            bursts.row.valid.eq(rows != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(size << log_elem),
        ]
        with m.If(taken):
            m.d.sync += [
                addr.eq(self.base + (insn.dram_base << log_elem)),
                rows.eq(Mux(insn.x_size == 0, 0, load_rows(cfg, insn))),
                size.eq(insn.x_size),
                stride.eq(insn.x_stride),
            ]
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += [rows.eq(rows - 1), addr.eq(addr + (stride << log_elem))]
        return rows == 0

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
        count = Mux(x.left > room, room, x.left)[: self.lanes.bit_length()] if self.lanes > 1 else Const(1)
        x.advance(m, current, moves, count)
        row_ends = x.ends(current, count)
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
        self._elaborate_writes(m, incoming.sram_base, current.pad, taken, active & ~nothing, is_data, moves, count)

    def _elaborate_beats(
        self, m: Module, incoming: data.View, current: data.View, taken: Value, wanted: Value, x: Walker
    ) -> tuple[Value, Value]:
        """Takes beats. Returns how many elements fit into this cycle, and whether a beat completes them."""
        beat = self.bus.r
        self._chunk_select, self._lane = Signal(self.chunks, init=1), Signal(range(self._bus_lanes))
        if self._bus_lanes == 1:
            m.d.comb += beat.ready.eq(wanted)
            with m.If(wanted & beat.valid):
                m.d.sync += self._chunk_select.eq(self._chunk_select.rotate_left(1))
            return Const(1), self._chunk_select[-1]
        row_lane = Signal.like(self._lane)
        in_beat = self._bus_lanes - self._lane
        ready, room = Signal(), Signal(range(self.lanes + 1))
        if self.lanes == 1:
            m.d.comb += [room.eq(1), ready.eq(self._lane.all() | (x.left == 1))]
        else:
            m.d.comb += [room.eq(Mux(wanted, in_beat, self.lanes)), ready.eq(1)]
        m.d.comb += beat.ready.eq(wanted & ready)
        with m.If(taken):
            m.d.sync += [self._lane.eq(incoming.lane), row_lane.eq(incoming.lane)]
        with m.Elif(wanted & beat.valid):
            m.d.sync += self._lane.eq(self._lane + 1 if self.lanes == 1 else 0)
            with m.If(x.left <= room):
                following = (row_lane + current.lane_stride)[: len(row_lane)]
                m.d.sync += [self._lane.eq(following), row_lane.eq(following)]
        return room, Const(1)

    def _elaborate_writes(
        self,
        m: Module,
        base: Value,
        pad: Value,
        taken: Value,
        active: Value,
        is_data: Value,
        moves: Value,
        count: Value,
    ) -> None:
        """The register stage before the scratchpad, its addresses, and what lies beyond its end."""
        addr = Signal(len(self.write.addr), reset_less=True)
        following = Signal(len(addr) + 1)
        wrapped = Signal()
        m.d.comb += following.eq(addr + count)
        with m.If(taken):
            m.d.sync += [addr.eq(base), wrapped.eq(base >= self._depth)]
        with m.Elif(moves):
            m.d.sync += [addr.eq(following), wrapped.eq(wrapped | following[-1])]
        padded = active & ~is_data
        arrived = active & is_data & self.bus.r.valid
        if self.lanes == 1:
            select: Value = Mux(padded, (1 << self.chunks) - 1, Mux(arrived, self._chunk_select, 0))
            word = self.bus.r.payload.data.word_select(self._lane, self.chunk_bytes * 8)
        else:
            place = addr[: self.lanes.bit_length() - 1]
            enabled = Cat(count > n for n in range(self.lanes))
            select = Mux(moves, _rotate(enabled, place, 1), 0)
            word = _rotate(self.bus.r.payload.data, (place - self._lane)[: len(place)], self.chunk_bytes * 8)
        m.d.sync += [
            self.write.select.eq(select),
            self.write.addr.eq(addr),
            self.write.data.eq(Mux(padded, pad.replicate(len(word) // len(pad)), word)),
            self.range_error.eq(moves & (wrapped | (following[-1] & following[:-1].any()))),
        ]


def _rotate(value: Value, places: Value, unit: int) -> Value:
    """``value`` rotated to the left by ``places`` units of ``unit`` bits, stage by stage."""
    result = value
    for stage in range(len(places)):
        result = Mux(places[stage], result.rotate_left(unit << stage), result)
    return result
