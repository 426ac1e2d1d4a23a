"""The store unit: sends accumulators, narrowed to the input width, to DRAM."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import Opcode

from .axi import WriteSignature, is_error
from .blame import BlamedPort, IndexQueue
from .burst import BurstGenerator
from .countdown import Countdown
from .issue import INDEX_BITS, TokenPort, insn_stream
from .landing import LandingOrder
from .layouts import insn_layout
from .requantizer import RequantPort
from .scratchpad import BankedReadPort
from .store_beats import add_beats
from .store_reads import add_reads, read_ahead

MAX_OUTSTANDING_WRITES = 16
"""Bursts sent and not yet answered."""
UNDER_WAY = 8
"""Instructions issued and not yet retired."""


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
        super().__init__(
            {
                "clear": In(1),
                "insns": In(insn_stream()),
                "prev": Out(TokenPort()),
                "base": In(cfg.axi_addr_width),
                "bus": Out(WriteSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "acc": Out(BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "acc_ready": In(1),
                **({"requant": Out(RequantPort(cfg))} if "requant" in cfg.extensions else {}),
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

        m.submodules.elements = elements = SyncFIFO(width=self._cfg.out_elem_bits, depth=read_ahead(self._cfg))
        reading = add_reads(m, self, self._cfg, insn, start, self._x_size, elements)
        addressing, burst_sent, answered = self._elaborate_addresses(m, insn, start)
        row = self._x_size, self._x_stride
        sending = add_beats(m, self, self._cfg, insn, start, row, elements, burst_sent)

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

    def _elaborate_addresses(self, m: Module, insn: data.View, start: Value) -> tuple[Value, Signal, Value]:
        """One row after the other as bursts.

        Returns whether rows are left, how many bursts' addresses are ahead of their data, and whether a
        STORE is answered.
        """
        cfg, log_elem = self._cfg, self._cfg.out_elem_bytes.bit_length() - 1
        m.submodules.bursts = bursts = BurstGenerator(
            addr_width=cfg.axi_addr_width,
            bus_bytes=cfg.axi_data_width // 8,
            size_width=len(insn.x_size) + log_elem,
        )
        rows, addr = Countdown(len(insn.y_size), "rows"), Signal(cfg.axi_addr_width, reset_less=True)
        last_row = Signal(reset_less=True)
        m.d.comb += [
            bursts.row.valid.eq(rows.value != 0),
            bursts.row.payload.addr.eq(addr),
            bursts.row.payload.size.eq(self._x_size << log_elem),
        ]
        with m.If(start):
            m.d.sync += addr.eq(self.base + (insn.dram_base << log_elem))
            rows.set(m, insn.y_size)
        with m.Elif(bursts.row.valid & bursts.row.ready):
            m.d.sync += [addr.eq(addr + (self._x_stride << log_elem)), last_row.eq(rows.value == 1)]
            rows.step(m)

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
        return rows.value != 0, ahead, answers.r_en & answers.r_rdy & answers.r_data
