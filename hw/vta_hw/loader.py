"""Fills a scratchpad from DRAM: strided rows, with padding around them."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode, memory_elem_bytes, sram_depth

from .axi import ReadSignature, is_error
from .burst import BurstGenerator
from .layouts import insn_layout


class ChunkPort(wiring.Signature):
    """Scratchpad writes of a loader: a chunk of an element, or a whole element of padding.

    ``select`` enables the chunks of the element ``addr``; a chunk is the whole element when that is no
    wider than the bus. ``pad`` says that zero bits are written, to all chunks.
    """

    def __init__(self, addr_width: int, chunk_bits: int, chunks: int) -> None:
        super().__init__({"select": Out(chunks), "addr": Out(addr_width), "data": Out(chunk_bits), "pad": Out(1)})


class Loader(wiring.Component):
    """Executes a LOAD of one memory type.

    Requests run ahead of the data. Throughput: one chunk a cycle (a bus word, or an element if that is
    narrower), one padding element a cycle. ``done`` comes with the last write. ``bus`` never waits for
    anything but this loader's own padding.
    """

    def __init__(self, cfg: VTAConfig, memory: Memory) -> None:
        self._cfg = cfg
        self._bus_bytes = cfg.axi_data_width // 8
        self._elem_bytes = memory_elem_bytes(cfg, memory)
        self._depth = sram_depth(cfg, memory)
        self.chunk_bytes = min(self._elem_bytes, self._bus_bytes)
        self.chunks = self._elem_bytes // self.chunk_bytes
        addr_width = (self._depth - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "insn": In(INSN_BITS),
                "base": In(cfg.axi_addr_width),
                "done": Out(1),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "write": Out(ChunkPort(addr_width, self.chunk_bytes * 8, self.chunks)),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        insn = data.View(insn_layout(self._cfg, Opcode.LOAD), self.insn)
        self._elaborate_requests(m, insn)
        self._elaborate_data(m, insn)
        m.d.comb += self.bus_error.eq(self.bus.r.valid & self.bus.r.ready & is_error(self.bus.r.payload.resp))
        return m

    def _elaborate_requests(self, m: Module, insn: data.View) -> None:
        """One row after the other to the burst generator."""
        cfg, log_elem = self._cfg, self._elem_bytes.bit_length() - 1
        size_width = len(insn.x_size) + log_elem
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width, bus_bytes=self._bus_bytes, size_width=size_width
        )
        connect(m, bursts.burst, flipped(self.bus.ar))
        rows = Signal(len(insn.y_size))
        addr = Signal(cfg.axi_addr_width, reset_less=True)
        m.d.comb += [
            bursts.row.valid.eq(rows != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(insn.x_size << log_elem),
        ]
        with m.If(self.start):
            m.d.sync += [addr.eq(self.base + (insn.dram_base << log_elem)), rows.eq(insn.y_size)]
            with m.If(insn.x_size == 0):
                m.d.sync += rows.eq(0)
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += [rows.eq(rows - 1), addr.eq(addr + (insn.x_stride << log_elem))]

    def _elaborate_data(self, m: Module, insn: data.View) -> None:
        """Walks over all elements, padding included, and writes each one."""
        active = Signal()
        x, y = Walker(insn, "x"), Walker(insn, "y")
        x.elaborate(m, self.start)
        y.elaborate(m, self.start)
        is_data = x.inside & y.inside
        element_done, data_written = Signal(), Signal()
        chunk_data = self._elaborate_chunks(m, insn, active & is_data, x.is_last_inside, data_written)
        beat = active & is_data & self.bus.r.valid
        padded = active & ~is_data
        m.d.comb += element_done.eq(padded | (beat & data_written))
        x.advance(m, element_done)
        y.advance(m, element_done & x.is_last)

        addr = Signal(len(self.write.addr), reset_less=True)
        wrapped = Signal()
        finished = element_done & x.is_last & y.is_last
        nothing = (insn.x_size == 0) | (insn.y_size == 0)
        with m.If(self.start):
            m.d.sync += [
                active.eq(~nothing),
                addr.eq(insn.sram_base),
                wrapped.eq(insn.sram_base >= self._depth),
            ]
        with m.Elif(element_done):
            m.d.sync += [addr.eq(addr + 1), active.eq(~finished)]
            with m.If(addr.all()):
                m.d.sync += wrapped.eq(1)
        select = Mux(padded, (1 << self.chunks) - 1, Mux(beat, self._chunk_select, 0))
        m.d.sync += [
            self.write.select.eq(select),
            self.write.addr.eq(addr),
            self.write.data.eq(Mux(padded, 0, chunk_data)),
            self.write.pad.eq(padded),
            self.done.eq(finished | (self.start & nothing)),
            self.range_error.eq(element_done & wrapped),
        ]

    def _elaborate_chunks(
        self, m: Module, insn: data.View, wanted: Signal, last_in_row: Signal, data_written: Signal
    ) -> object:
        """Takes beats: several make a wide element, or one holds several narrow elements."""
        beat = self.bus.r
        taken = wanted & beat.valid
        if self._elem_bytes >= self._bus_bytes:
            self._chunk_select = Signal(self.chunks, init=1)
            m.d.comb += [beat.ready.eq(wanted), data_written.eq(self._chunk_select[-1])]
            with m.If(taken):
                m.d.sync += self._chunk_select.eq(self._chunk_select.rotate_left(1))
            return beat.payload.data
        self._chunk_select = 1
        lanes = self._bus_bytes // self._elem_bytes
        lane, row_lane = Signal(range(lanes)), Signal(range(lanes))
        m.d.comb += [data_written.eq(1), beat.ready.eq(wanted & (lane.all() | last_in_row))]
        with m.If(self.start):
            m.d.sync += [lane.eq(insn.dram_base), row_lane.eq(insn.dram_base)]
        with m.Elif(taken):
            m.d.sync += lane.eq(lane + 1)
            with m.If(last_in_row):
                following = (row_lane + insn.x_stride)[: len(lane)]
                m.d.sync += [lane.eq(following), row_lane.eq(following)]
        return beat.payload.data.word_select(lane, self._elem_bytes * 8)


class Walker:
    """Counts along one axis of a LOAD: padding, data, padding. Part of :class:`Loader`."""

    def __init__(self, insn: data.View, axis: str) -> None:
        self._before, self._size, self._after = insn[f"{axis}_pad_0"], insn[f"{axis}_size"], insn[f"{axis}_pad_1"]
        width = len(self._size) + 1
        self._count = Signal(width, name=f"{axis}_count", reset_less=True)
        self._first = Signal(width, name=f"{axis}_first", reset_less=True)
        self._end = Signal(width, name=f"{axis}_end", reset_less=True)
        self._last = Signal(width, name=f"{axis}_last", reset_less=True)
        self.inside = (self._count >= self._first) & (self._count < self._end)
        self.is_last_inside = self._count + 1 == self._end
        self.is_last = self._count == self._last

    def elaborate(self, m: Module, start: Signal) -> None:
        """Takes the bounds at ``start``."""
        with m.If(start):
            m.d.sync += [
                self._count.eq(0),
                self._first.eq(self._before),
                self._end.eq(self._before + self._size),
                self._last.eq(self._before + self._size + self._after - 1),
            ]

    def advance(self, m: Module, step: object) -> None:
        """Moves on at ``step``, from the last position back to the first."""
        with m.If(step):
            m.d.sync += self._count.eq(Mux(self.is_last, 0, self._count + 1))
