"""The store unit: sends accumulators, narrowed to the input width, to DRAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .axi import MAX_BURST_BEATS, WriteSignature, is_error
from .burst import BurstGenerator
from .issue import Issuer, TokenPort
from .layouts import insn_layout
from .scratchpad import ReadPort

MAX_OUTSTANDING_WRITES = 16
"""Bursts sent and not yet answered."""
READ_AHEAD = 4
"""Accumulators read and not yet sent."""


class StoreUnit(wiring.Component):
    """Executes STORE: contiguous accumulators to strided rows in DRAM.

    Sends the low input-width bits of each accumulator. Throughput: a bus word a cycle, or an
    element a cycle if that is narrower. Done when the last write response is there.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._bus_bytes = cfg.axi_data_width // 8
        self._elem_bytes = cfg.out_elem_bytes
        super().__init__(
            {
                "clear": In(1),
                "insns": In(stream.Signature(INSN_BITS)),
                "prev": Out(TokenPort()),
                "base": In(cfg.axi_addr_width),
                "bus": Out(WriteSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "acc": Out(ReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "acc_ready": In(1),
                "busy": Out(1),
                "waiting": Out(1),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.issuer = issuer = ResetInserter(self.clear)(Issuer(self._cfg, prev=True, next=False))
        connect(m, flipped(self.insns), issuer.insns)
        connect(m, issuer.prev, flipped(self.prev))
        insn = data.View(insn_layout(self._cfg, Opcode.STORE), issuer.insn)
        nothing = (insn.x_size == 0) | (insn.y_size == 0)
        start = issuer.start & ~nothing

        m.submodules.elements = elements = SyncFIFO(width=self._cfg.out_elem_bits, depth=READ_AHEAD)
        self._elaborate_reads(m, insn, start, elements)
        burst_sent = self._elaborate_addresses(m, insn, start)
        sending = self._elaborate_beats(m, insn, start, elements, burst_sent)

        m.d.comb += [
            issuer.done.eq(issuer.busy & ~sending & (self._unanswered == 0)),
            self.busy.eq(issuer.busy),
            self.waiting.eq(issuer.waiting),
            self.bus.b.ready.eq(1),
            self.bus_error.eq(self.bus.b.valid & is_error(self.bus.b.payload.resp)),
        ]
        return m

    def _elaborate_reads(self, m: Module, insn: data.View, start: Value, elements: SyncFIFO) -> None:
        """Reads ahead as far as the queue has room; data come two cycles after the address."""
        cfg = self._cfg
        depth = cfg.acc_depth
        addr = Signal(cfg.log_acc_depth, reset_less=True)
        wrapped = Signal()
        columns, rows = Signal(len(insn.x_size), reset_less=True), Signal(len(insn.y_size))
        reserved = Signal(range(READ_AHEAD + 1))
        arriving, arrived = Signal(), Signal()
        narrowed = Signal(cfg.out_elem_bits, reset_less=True)
        taken = self.acc.en & self.acc_ready
        m.d.comb += [
            self.acc.en.eq((rows != 0) & (reserved != READ_AHEAD)),
            self.acc.addr.eq(addr),
            elements.w_en.eq(arrived),
            elements.w_data.eq(narrowed),
        ]
        lanes = (self.acc.data.word_select(n, cfg.acc_width) for n in range(cfg.batch * cfg.block_out))
        m.d.sync += [
            arriving.eq(taken),
            arrived.eq(arriving),
            narrowed.eq(Cat(lane[: cfg.inp_width] for lane in lanes)),
            self.range_error.eq(taken & wrapped),
            reserved.eq(reserved + taken - (elements.r_en & elements.r_rdy)),
        ]
        with m.If(start):
            m.d.sync += [
                addr.eq(insn.sram_base),
                wrapped.eq(insn.sram_base >= depth),
                columns.eq(insn.x_size),
                rows.eq(insn.y_size),
            ]
        with m.Elif(taken):
            m.d.sync += [addr.eq(addr + 1), columns.eq(columns - 1)]
            with m.If(addr.all()):
                m.d.sync += wrapped.eq(1)
            with m.If(columns == 1):
                m.d.sync += [columns.eq(insn.x_size), rows.eq(rows - 1)]

    def _elaborate_addresses(self, m: Module, insn: data.View, start: Value) -> Signal:
        """One row after the other as bursts; returns how far addresses are ahead of data."""
        cfg, log_elem = self._cfg, self._elem_bytes.bit_length() - 1
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width,
            bus_bytes=self._bus_bytes,
            size_width=len(insn.x_size) + log_elem,
        )
        rows, addr = Signal(len(insn.y_size)), Signal(cfg.axi_addr_width, reset_less=True)
        m.d.comb += [
            bursts.row.valid.eq(rows != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(insn.x_size << log_elem),
        ]
        with m.If(start):
            m.d.sync += [addr.eq(self.base + (insn.dram_base << log_elem)), rows.eq(insn.y_size)]
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += [rows.eq(rows - 1), addr.eq(addr + (insn.x_stride << log_elem))]

        self._unanswered = Signal(range(MAX_OUTSTANDING_WRITES + 1))
        ahead = Signal(range(MAX_OUTSTANDING_WRITES + 1))
        sent = self.bus.aw.valid & self.bus.aw.ready
        last_sent = self.bus.w.valid & self.bus.w.ready & self.bus.w.payload.last
        # The response count only falls while an address waits, so valid never falls unanswered.
        room = self._unanswered != MAX_OUTSTANDING_WRITES
        m.d.comb += [
            self.bus.aw.payload.eq(bursts.burst.payload),
            self.bus.aw.valid.eq(bursts.burst.valid & room),
            bursts.burst.ready.eq(self.bus.aw.ready & room),
        ]
        m.d.sync += [
            self._unanswered.eq(self._unanswered + sent - (self.bus.b.valid & self.bus.b.ready)),
            ahead.eq(ahead + sent - last_sent),
        ]
        return ahead

    def _elaborate_beats(self, m: Module, insn: data.View, start: Value, elements: SyncFIFO, ahead: Signal) -> Signal:
        """Makes beats of elements; a row ends its beat. Returns whether beats are still to be sent."""
        bus, elem = self._bus_bytes, self._elem_bytes
        log_elem, log_bus = elem.bit_length() - 1, bus.bit_length() - 1
        # Position of the next element or chunk in units of the smaller of bus word and element.
        unit = min(log_elem, log_bus)
        width = log_bus + MAX_BURST_BEATS.bit_length() - 1 - unit
        position, row_position = Signal(width, reset_less=True), Signal(width, reset_less=True)
        columns, rows = Signal(len(insn.x_size), reset_less=True), Signal(len(insn.y_size))
        chunks, lanes = max(1, elem // bus), max(1, bus // elem)
        chunk = Signal(range(max(2, chunks)))
        first = (self.base + (insn.dram_base << log_elem))[unit : unit + width]
        stride = (insn.x_stride << (log_elem - unit))[:width]

        beat = data.View(self.bus.w.payload.shape(), Signal(self.bus.w.payload.shape().size, name="beat"))
        full = Signal()
        free = ~full | (self.bus.w.ready & (ahead != 0))
        last_column = columns == 1
        last_chunk = (chunk == chunks - 1) if chunks > 1 else Const(1)
        take = elements.r_rdy & free & (rows != 0)
        row_ends = last_column & last_chunk
        beat_ends = row_ends | (position[: log_bus - unit].all() if lanes > 1 else Const(1))
        burst_ends = row_ends | position.all()
        m.d.comb += [
            elements.r_en.eq(take & last_chunk),
            self.bus.w.valid.eq(full & (ahead != 0)),
            self.bus.w.payload.eq(beat),
        ]
        with m.If(full & self.bus.w.ready & (ahead != 0)):
            m.d.sync += full.eq(0)
            m.d.sync += beat.strb.eq(0)
        with m.If(take):
            if lanes > 1:
                lane = position[: log_bus - unit]
                m.d.sync += beat.data.word_select(lane, elem * 8).eq(elements.r_data)
                m.d.sync += beat.strb.word_select(lane, elem).eq((1 << elem) - 1)
            else:
                m.d.sync += beat.data.eq(elements.r_data.word_select(chunk, bus * 8))
                m.d.sync += beat.strb.eq((1 << bus) - 1)
            m.d.sync += [full.eq(beat_ends), beat.last.eq(burst_ends), position.eq(position + 1)]
            if chunks > 1:
                m.d.sync += chunk.eq(chunk + 1)
            with m.If(last_chunk):
                m.d.sync += columns.eq(columns - 1)
            with m.If(row_ends):
                following = row_position + stride
                m.d.sync += [
                    columns.eq(insn.x_size),
                    rows.eq(rows - 1),
                    position.eq(following),
                    row_position.eq(following),
                ]
        with m.If(start):
            m.d.sync += [
                position.eq(first),
                row_position.eq(first),
                columns.eq(insn.x_size),
                rows.eq(insn.y_size),
            ]
        return (rows != 0) | full
