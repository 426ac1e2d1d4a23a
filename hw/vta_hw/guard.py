"""The last stage before the AXI4 port: the DMA window, and the order in which a reset leaves the bus."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.registers import WINDOW_PAGE

from .axi import ReadSignature, WriteSignature
from .read_arbiter import CLIENT_BITS, MAX_OUTSTANDING_READS

MAX_OUTSTANDING_WRITES = 16
"""Bursts sent and not yet answered."""
LOG_PAGE = WINDOW_PAGE.bit_length() - 1


class BusGuard(wiring.Component):
    """Passes bursts that lie in the DMA window on to the bus, and completes what was begun when asked to.

    A burst outside [``base``, ``limit``) never reaches the bus: ``read_outside`` or ``write_outside`` rises, with
    the burst's ``client`` and ``address``, and nothing follows it until ``drain``. While ``drain`` is high nothing is
    taken from inside, read data are dropped, and write bursts whose address is on the bus are completed without
    strobes; so all that is inside may be reset. ``idle``: nothing is outstanding. ``moved``: something was
    transferred in the cycle before. No burst crosses a 4 KiB boundary, so that pages decide.

    Latency: one cycle for addresses and write data, none for read data and responses. Throughput: one a cycle each.
    Write data follow their address.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._addr_width = cfg.axi_addr_width
        read = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        write = WriteSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "inner_read": In(read),
                "inner_client": In(CLIENT_BITS),
                "inner_write": In(write),
                "read": Out(read),
                "write": Out(write),
                "base": In(64),
                "limit": In(64),
                "drain": In(1),
                "idle": Out(1),
                "moved": Out(1),
                "read_outside": Out(1),
                "write_outside": Out(1),
                "client": Out(CLIENT_BITS),
                "address": Out(cfg.axi_addr_width),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        reads_idle = self._elaborate_reads(m)
        writes_idle = self._elaborate_writes(m)
        channels = (self.read.ar, self.read.r, self.write.aw, self.write.w, self.write.b)
        moved = Value.cast(0)
        for channel in channels:
            moved = moved | (channel.valid & channel.ready)
        m.d.comb += self.idle.eq(reads_idle & writes_idle)
        m.d.sync += self.moved.eq(moved)
        return m

    def _inside(self, address: Value) -> Value:
        """Whether the page of ``address`` lies in the window."""
        width = self._addr_width
        page = address[LOG_PAGE:]
        too_high = (self.limit[LOG_PAGE:] != 0) & (self.limit[width:] == 0) & (page >= self.limit[LOG_PAGE:width])
        too_low = (self.base[width:] != 0) | (page < self.base[LOG_PAGE:width])
        return ~too_high & ~too_low

    def _stage(
        self, m: Module, name: str, inner: stream.Interface, outer: stream.Interface, room: Value
    ) -> tuple[Signal, Signal]:
        """A register for addresses; returns whether it is occupied, and by a burst outside the window."""
        pending, inside = Signal(name=f"{name}_pending"), Signal(name=f"{name}_inside", reset_less=True)
        payload = Signal(inner.payload.shape(), name=f"{name}_payload", reset_less=True)
        sent = outer.valid & outer.ready
        m.d.comb += [
            outer.payload.eq(payload),
            outer.valid.eq(pending & inside & room),
            inner.ready.eq((~pending | sent) & ~self.drain),
        ]
        with m.If(inner.valid & inner.ready):
            m.d.sync += [pending.eq(1), payload.eq(inner.payload), inside.eq(self._inside(inner.payload.addr))]
        with m.Elif(sent | (self.drain & ~inside)):
            m.d.sync += pending.eq(0)
        outside = Signal(name=f"{name}_blocked")
        m.d.comb += outside.eq(pending & ~inside & ~self.drain)
        with m.If(outside):
            m.d.comb += self.address.eq(payload.addr)
        return pending, outside

    def _elaborate_reads(self, m: Module) -> Value:
        open_bursts = Signal(range(MAX_OUTSTANDING_READS + 1))
        inner, outer = self.inner_read, self.read
        pending, outside = self._stage(m, "ar", inner.ar, outer.ar, open_bursts != MAX_OUTSTANDING_READS)
        with m.If(inner.ar.valid & inner.ar.ready):
            m.d.sync += self.client.eq(self.inner_client)
        ends = outer.r.valid & outer.r.ready & outer.r.payload.last
        m.d.sync += open_bursts.eq(open_bursts + (outer.ar.valid & outer.ar.ready) - ends)
        m.d.comb += [
            self.read_outside.eq(outside),
            inner.r.payload.eq(outer.r.payload),
            inner.r.valid.eq(outer.r.valid & ~self.drain),
            outer.r.ready.eq(inner.r.ready | self.drain),
        ]
        return ~pending & (open_bursts == 0)

    def _elaborate_writes(self, m: Module) -> Value:
        inner, outer = self.inner_write, self.write
        unanswered = Signal(range(MAX_OUTSTANDING_WRITES + 1))
        # The count only falls while an address waits, so that valid never falls unanswered.
        pending, outside = self._stage(m, "aw", inner.aw, outer.aw, unanswered != MAX_OUTSTANDING_WRITES)
        sent = outer.aw.valid & outer.aw.ready
        m.submodules.lengths = lengths = SyncFIFO(width=8, depth=MAX_OUTSTANDING_WRITES)
        beat = Signal(8)
        last = beat == lengths.r_data
        free = ~outer.w.valid | outer.w.ready
        take = free & lengths.r_rdy & (inner.w.valid | self.drain)
        m.d.comb += [
            self.write_outside.eq(outside),
            lengths.w_data.eq(outer.aw.payload.len),
            lengths.w_en.eq(sent),
            lengths.r_en.eq(take & last),
            inner.w.ready.eq(free & lengths.r_rdy & ~self.drain),
            inner.b.payload.eq(outer.b.payload),
            inner.b.valid.eq(outer.b.valid & ~self.drain),
            outer.b.ready.eq(inner.b.ready | self.drain),
        ]
        with m.If(free):
            m.d.sync += outer.w.valid.eq(take)
        with m.If(take):
            m.d.sync += [
                beat.eq(Mux(last, 0, beat + 1)),
                outer.w.payload.data.eq(inner.w.payload.data),
                outer.w.payload.strb.eq(Mux(self.drain, 0, inner.w.payload.strb)),
                outer.w.payload.last.eq(last),
            ]
        m.d.sync += unanswered.eq(unanswered + sent - (outer.b.valid & outer.b.ready))
        return ~pending & ~lengths.r_rdy & ~outer.w.valid & (unanswered == 0)
