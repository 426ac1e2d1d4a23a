"""Reads the instruction stream from DRAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, INSN_BYTES

from .axi import MAX_BURST_BEATS, ReadSignature, is_error
from .countdown import Countdown
from .issue import INDEX_BITS

PREFETCH_INSNS = 32
"""Instructions requested or waiting for dispatch. They are all buffered, so that the read channel
never waits for a full instruction queue."""
LOG_INSN_BYTES = INSN_BYTES.bit_length() - 1
BURST_BYTES = 128
"""Bytes of a fetch burst, at least a bus word and at most the longest burst."""


class Fetch(wiring.Component):
    """Fetches ``count`` instructions from ``address`` (a multiple of 64 bytes) at ``start``.

    Nothing beyond ``count`` is read; ``stop`` ends requesting. ``idle`` is high while no read is
    outstanding. ``index`` is that of the instruction that comes next. A request every third cycle at most, which
    is more than an instruction a cycle; data: a bus word a cycle.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._bus_bytes = cfg.axi_data_width // 8
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "address": In(cfg.axi_addr_width),
                "count": In(32),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                "insns": Out(stream.Signature(INSN_BITS)),
                "idle": Out(1),
                "bus_error": Out(1),
                "index": Out(INDEX_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = SyncFIFOBuffered(width=INSN_BITS, depth=PREFETCH_INSNS + 1)
        asked = self._request(m)
        outstanding = Signal(range(PREFETCH_INSNS + 1))
        if self._cfg.axi_data_width < INSN_BITS:
            self._receive_narrow(m, buffer)
        else:
            self._receive_wide(m, buffer, outstanding)
        m.d.sync += outstanding.eq(outstanding + asked - buffer.w_en)
        m.d.comb += [
            self.insns.payload.eq(buffer.r_data),
            self.insns.valid.eq(buffer.r_rdy),
            buffer.r_en.eq(self.insns.ready),
            self.idle.eq(outstanding == 0),
            self.bus_error.eq(self.bus.r.valid & self.bus.r.ready & is_error(self.bus.r.payload.resp)),
        ]
        with m.If(self.start):
            m.d.sync += self.index.eq(0)
        with m.Elif(buffer.w_en):
            m.d.sync += self.index.eq(self.index + 1)
        return m

    def _request(self, m: Module) -> Signal:
        """Asks for the next burst when the buffer has room for all of it; the instructions asked for.

        One cycle finds the burst's size, the next one sees whether there is room.
        """
        per_burst = min(max(BURST_BYTES, self._bus_bytes), MAX_BURST_BEATS * self._bus_bytes) // INSN_BYTES
        log_burst = per_burst.bit_length() - 1 + LOG_INSN_BYTES
        left = Countdown(32, "left")
        addr = Signal(self._cfg.axi_addr_width)
        number, asked, to_boundary = (Signal(range(per_burst + 1), name=n) for n in ("number", "asked", "to_boundary"))
        reserved = Signal(range(PREFETCH_INSNS + 1))
        sized = Signal()
        bus_words = (number << LOG_INSN_BYTES) + (self._bus_bytes - 1) >> (self._bus_bytes.bit_length() - 1)
        free = ~self.bus.ar.valid | self.bus.ar.ready
        room = reserved + number <= PREFETCH_INSNS
        m.d.comb += [
            to_boundary.eq(per_burst - addr[LOG_INSN_BYTES:log_burst]),
            asked.eq(Mux(sized & free & room & ~self.stop, number, 0)),
        ]
        m.d.sync += [
            sized.eq((left.value != 0) & (asked == 0)),
            number.eq(Mux(left.value < to_boundary, left.value, to_boundary)),
        ]
        with m.If(free):
            m.d.sync += self.bus.ar.valid.eq(asked != 0)
        with m.If(asked != 0):
            m.d.sync += [
                self.bus.ar.payload.addr.eq(addr),
                self.bus.ar.payload.len.eq(bus_words - 1),
                addr.eq(addr + (number << LOG_INSN_BYTES)),
            ]
            left.step(m, number)
        with m.If(self.start):
            m.d.sync += [addr.eq(self.address), sized.eq(0)]
            left.set(m, self.count)
        m.d.sync += reserved.eq(reserved + asked - (self.insns.valid & self.insns.ready))
        return asked

    def _receive_narrow(self, m: Module, buffer: SyncFIFOBuffered) -> None:
        """Several beats make an instruction."""
        width = self._cfg.axi_data_width
        beats = INSN_BITS // width
        index = Signal(range(beats))
        held = Signal(INSN_BITS - width, reset_less=True)
        joined = Cat(held, self.bus.r.payload.data)
        m.d.comb += [
            self.bus.r.ready.eq(1),
            buffer.w_data.eq(joined),
            buffer.w_en.eq(self.bus.r.valid & (index == beats - 1)),
        ]
        with m.If(self.bus.r.valid):
            m.d.sync += [index.eq(index + 1), held.eq(joined[width:])]

    def _receive_wide(self, m: Module, buffer: SyncFIFOBuffered, outstanding: Signal) -> None:
        """A beat holds several instructions; the last beat of the stream may hold fewer."""
        per_beat = self._cfg.axi_data_width // INSN_BITS
        lane = Signal(range(max(per_beat, 2)))
        last_lane = (lane == per_beat - 1) | (outstanding == 1)
        m.d.comb += [
            buffer.w_data.eq(self.bus.r.payload.data.word_select(lane, INSN_BITS)),
            buffer.w_en.eq(self.bus.r.valid),
            self.bus.r.ready.eq(last_lane),
        ]
        with m.If(self.bus.r.valid):
            m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
