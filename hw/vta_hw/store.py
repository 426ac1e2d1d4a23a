"""The store unit: sends accumulators, narrowed to the input width, to DRAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import Opcode

from .axi import MAX_BURST_BEATS, WriteSignature, is_error
from .blame import BlamedPort, IndexQueue
from .burst import BurstGenerator
from .issue import INDEX_BITS, TokenPort, insn_stream
from .landing import LandingOrder
from .layouts import insn_layout
from .requantizer import RequantPort
from .scratchpad import ReadPort

MAX_OUTSTANDING_WRITES = 16
"""Bursts sent and not yet answered."""
UNDER_WAY = 8
"""Instructions issued and not yet retired."""
READ_AHEAD = 4
"""Accumulators read and not yet sent."""
REQUANT_READ_AHEAD = 32
"""The same where some may be in the requantizer: more than its pipeline holds."""


class StoreUnit(wiring.Component):
    """Executes STORE: contiguous accumulators to strided rows in DRAM.

    Sends the low input-width bits of each accumulator, or of what the requantizer makes of it. Throughput: a bus word
    a cycle, or an element a cycle if that is narrower. The next STORE begins when the last beat of this one is made;
    its token is given when the last write response of this one and of all older ones are there. ``idle``: all issued
    are retired. ``blamed`` are the instructions to blame: for the unit's own errors, for a write ``outside`` the DMA
    window, for a run that is ``stuck`` or whose watchdog has ``expired``. ``clear`` forgets tokens that wait to be
    given; nothing may be executing then.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._bus_bytes = cfg.axi_data_width // 8
        self._elem_bytes = cfg.out_elem_bytes
        self._has_requant = "requant" in cfg.extensions
        self._read_ahead = REQUANT_READ_AHEAD if self._has_requant else READ_AHEAD
        super().__init__(
            {
                "clear": In(1),
                "insns": In(insn_stream()),
                "prev": Out(TokenPort()),
                "base": In(cfg.axi_addr_width),
                "bus": Out(WriteSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "acc": Out(ReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "acc_ready": In(1),
                **({"requant": Out(RequantPort(cfg))} if self._has_requant else {}),
                "idle": Out(1),
                "busy": Out(1),
                "waiting": Out(1),
                "stuck": In(1),
                "expired": In(1),
                "outside": In(1),
                "blamed": Out(BlamedPort()).array(3),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.order = order = ResetInserter(self.clear)(LandingOrder(engines=1, depth=UNDER_WAY))
        insn = data.View(insn_layout(self._cfg, Opcode.STORE), self.insns.payload.insn)
        nothing = (insn.x_size == 0) | (insn.y_size == 0)
        issue, start, tokens_there, made = Signal(), Signal(), Signal(), Signal()
        self._x_size = Signal(len(insn.x_size), reset_less=True)
        self._x_stride = Signal(len(insn.x_stride), reset_less=True)
        with m.If(start):
            m.d.sync += [self._x_size.eq(insn.x_size), self._x_stride.eq(insn.x_stride)]

        m.submodules.elements = elements = SyncFIFO(width=self._cfg.out_elem_bits, depth=self._read_ahead)
        reading = self._elaborate_reads(m, insn, start, elements)
        addressing, burst_sent, answered = self._elaborate_addresses(m, insn, start)
        sending = self._elaborate_beats(m, insn, start, elements, burst_sent)

        self._elaborate_blame(m, start, answered)
        self.observed: dict[str, Value] = {
            "head": self.insns.valid,
            "index": self.insns.payload.index,
            "engine": nothing,
            "issue": issue,
            "lack_compute": ~tokens_there,
            "lack_room": ~order.room,
            "done_STORE": answered,
            "move_STORE": self.bus.w.valid & self.bus.w.ready,
            "busy_STORE": ~made,
            "bus_wait": (self.bus.w.valid & ~self.bus.w.ready) | (self.bus.aw.valid & ~self.bus.aw.ready),
            "acc_wait": self.acc.en & ~self.acc_ready,
        }
        m.d.comb += [
            tokens_there.eq(~insn.pop_prev | self.prev.available),
            made.eq(~reading & ~addressing & ~sending),
            issue.eq(self.insns.valid & tokens_there & order.room & (nothing | made)),
            start.eq(issue & ~nothing),
            self.insns.ready.eq(issue),
            self.prev.pop.eq(issue & insn.pop_prev),
            self.prev.push.eq(order.push),
            order.issue.eq(issue),
            order.engine.eq(nothing),
            order.gives.eq(insn.push_prev),
            order.full.eq(self.prev.full),
            order.done.eq(answered),
            self.idle.eq(order.empty),
            self.blamed[2].index.eq(self.insns.payload.index),
            self.blamed[2].fault.eq((self.stuck | self.expired) & self.insns.valid & ~tokens_there),
            self.busy.eq((~order.empty & ~order.blocked) | ~made | (burst_sent != 0) | self._answers.r_rdy),
            self.waiting.eq((self.insns.valid & ~tokens_there) | order.blocked),
            self.bus.b.ready.eq(1),
            self.bus_error.eq(self.bus.b.valid & is_error(self.bus.b.payload.resp)),
        ]
        return m

    def _elaborate_blame(self, m: Module, start: Value, answered: Value) -> None:
        """Responses speak of the oldest STORE under way, all else of the one that began last."""
        m.submodules.indices = indices = IndexQueue(UNDER_WAY)
        current = Signal(INDEX_BITS, reset_less=True)
        with m.If(start):
            m.d.sync += current.eq(self.insns.payload.index)
        m.d.comb += [
            indices.push.eq(start),
            indices.index.eq(self.insns.payload.index),
            indices.pop.eq(answered),
            self.blamed[0].index.eq(indices.head),
            self.blamed[0].fault.eq(self.bus_error | (self.expired & indices.any)),
            self.blamed[1].index.eq(current),
            self.blamed[1].fault.eq(self.range_error | self.outside),
        ]

    def _elaborate_reads(self, m: Module, insn: data.View, start: Value, elements: SyncFIFO) -> Value:
        """Reads ahead as far as the queue has room; data come two cycles after the address.

        Returns whether accumulators are still to be read.
        """
        cfg = self._cfg
        depth = cfg.acc_depth
        addr = Signal(cfg.log_acc_depth, reset_less=True)
        wrapped = Signal()
        columns, rows = Signal(len(insn.x_size), reset_less=True), Signal(len(insn.y_size))
        reserved = Signal(range(self._read_ahead + 1))
        arriving, arrived = Signal(), Signal()
        narrowed = Signal(cfg.out_elem_bits, reset_less=True)
        taken = self.acc.en & self.acc_ready
        reads = (rows != 0) & (reserved != self._read_ahead)
        m.d.comb += [
            self.acc.en.eq(reads),
            self.acc.addr.eq(addr),
            elements.w_en.eq(arrived),
            elements.w_data.eq(narrowed),
        ]
        m.d.sync += [arriving.eq(taken), arrived.eq(arriving), narrowed.eq(self._narrow(self.acc.data))]
        over = wrapped
        if self._has_requant:
            over |= self._elaborate_requant(m, insn, start, reads, taken & (columns == 1), narrowed, arrived)
        m.d.sync += [
            self.range_error.eq(taken & over),
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
                m.d.sync += [columns.eq(self._x_size), rows.eq(rows - 1)]
        return rows != 0

    def _narrow(self, values: Value) -> Value:
        """The low bits of accumulators side by side."""
        width = self._cfg.acc_width
        return Cat(values.word_select(n, width)[: self._cfg.inp_width] for n in range(len(values) // width))

    def _elaborate_requant(
        self, m: Module, insn: data.View, start: Value, reads: Value, row_read: Value, narrowed: Signal, arrived: Signal
    ) -> Value:
        """Reads go by the requantizer's turns, and elements come from it in parts. Returns whether the index of the
        parameters is past their end."""
        cfg, port = self._cfg, self.requant
        requantizes, each_row, over = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        with m.If(start):
            m.d.sync += [
                requantizes.eq(insn.requant),
                each_row.eq(insn.req_rows),
                Cat(port.index, over).eq(Cat(insn.req_index[: cfg.log_req_depth], insn.req_index >= cfg.req_depth)),
            ]
        with m.Elif(row_read & each_row):
            m.d.sync += [port.index.eq(port.index + 1), over.eq(over | port.index.all())]
        m.d.comb += port.taken.eq(port.go & self.acc_ready)
        with m.If(requantizes):
            m.d.comb += [port.ask.eq(reads), self.acc.en.eq(port.go)]
            m.d.sync += [narrowed.eq(narrowed), arrived.eq(port.part[-1])]
            bits = len(narrowed) // len(port.part)
            for place, comes in enumerate(port.part):
                with m.If(comes):
                    m.d.sync += narrowed.word_select(place, bits).eq(self._narrow(port.data))
        return requantizes & over

    def _elaborate_addresses(self, m: Module, insn: data.View, start: Value) -> tuple[Value, Signal, Value]:
        """One row after the other as bursts.

        Returns whether rows are left, how many bursts' addresses are ahead of their data, and whether a
        STORE is answered.
        """
        cfg, log_elem = self._cfg, self._elem_bytes.bit_length() - 1
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width,
            bus_bytes=self._bus_bytes,
            size_width=len(insn.x_size) + log_elem,
        )
        rows, addr = Signal(len(insn.y_size)), Signal(cfg.axi_addr_width, reset_less=True)
        last_row = Signal(reset_less=True)
        m.d.comb += [
            bursts.row.valid.eq(rows != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(self._x_size << log_elem),
        ]
        with m.If(start):
            m.d.sync += [addr.eq(self.base + (insn.dram_base << log_elem)), rows.eq(insn.y_size)]
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += [rows.eq(rows - 1), addr.eq(addr + (self._x_stride << log_elem)), last_row.eq(rows == 1)]

        # For each unanswered burst: whether it is the last one of its STORE.
        m.submodules.answers = self._answers = answers = SyncFIFO(width=1, depth=MAX_OUTSTANDING_WRITES)
        ahead = Signal(range(MAX_OUTSTANDING_WRITES + 1))
        sent = self.bus.aw.valid & self.bus.aw.ready
        last_sent = self.bus.w.valid & self.bus.w.ready & self.bus.w.payload.last
        # While an address waits, the queue only shrinks: valid never falls unanswered.
        m.d.comb += [
            self.bus.aw.payload.eq(bursts.burst.payload),
            self.bus.aw.valid.eq(bursts.burst.valid & answers.w_rdy),
            bursts.burst.ready.eq(self.bus.aw.ready & answers.w_rdy),
            answers.w_en.eq(sent),
            answers.w_data.eq(last_row & bursts.last),
            answers.r_en.eq(self.bus.b.valid & self.bus.b.ready),
        ]
        m.d.sync += ahead.eq(ahead + sent - last_sent)
        return rows != 0, ahead, answers.r_en & answers.r_rdy & answers.r_data

    def _elaborate_beats(self, m: Module, insn: data.View, start: Value, elements: SyncFIFO, ahead: Signal) -> Value:
        """Makes beats of elements; a row ends its beat. Returns whether beats are still to be made."""
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
        stride = (self._x_stride << (log_elem - unit))[:width]

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
                    columns.eq(self._x_size),
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
        return rows != 0
