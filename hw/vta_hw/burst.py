"""Cuts rows of bytes into bus bursts."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import MAX_BURST_BEATS, address_layout
from .countdown import Countdown


def row_layout(addr_width: int, size_width: int) -> data.StructLayout:
    """A run of ``size`` bytes (at least one) that starts at the byte address ``addr``."""
    return data.StructLayout({"addr": addr_width, "size": size_width})


class BurstGenerator(wiring.Component):
    """Cuts each row into bursts that end at multiples of ``max_beats`` beats.

    Such a burst crosses no 4 KiB boundary, since max_beats bus words are at most 4 KiB. A burst
    starts at the beat that holds its first byte. ``last`` says that a burst is the last one of its row.
    Latency one cycle; one burst a cycle, also from one row to the next.
    """

    def __init__(self, *, addr_width: int, bus_bytes: int, size_width: int, max_beats: int = MAX_BURST_BEATS) -> None:
        self._log_bus = bus_bytes.bit_length() - 1
        self._log_beats = max_beats.bit_length() - 1
        self._size_width = size_width
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(addr_width, size_width))),
                "burst": Out(stream.Signature(address_layout(addr_width))),
                "last": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        log_bus, log_beats = self._log_bus, self._log_beats
        row, burst = self.row.payload, self.burst.payload
        word = Signal(len(row.addr) - log_bus, reset_less=True)
        # Beats of the row's end, counted from the last multiple of max_beats before ``word``: only the blocks change
        # from burst to burst, and say whether the next one is the last.
        span_bits = max(self._size_width, log_bus + log_beats) + 1 - log_bus
        end, blocks = Signal(log_beats, reset_less=True), Countdown(span_bits - log_beats, "blocks", reset_less=True)
        span = Signal(span_bits)
        m.d.comb += span.eq(Cat(end, blocks.value))
        active, whole = Signal(), Signal()
        place, block = word[:log_beats], word[log_beats:]
        m.d.comb += [
            whole.eq(span[log_beats:] == 0),
            burst.addr.eq(word << log_bus),
            burst.len.eq((Mux(whole, span[:log_beats], (1 << log_beats) - 1) - place)[:log_beats]),
            self.burst.valid.eq(active),
            self.last.eq(whole),
            self.row.ready.eq(~active | (self.burst.ready & whole)),
        ]
        with m.If(self.burst.valid & self.burst.ready):
            m.d.sync += [place.eq(0), block.eq(block + 1), active.eq(~whole)]
            blocks.step(m)
        with m.If(self.row.valid & self.row.ready):
            last = (row.addr[: log_bus + log_beats] + row.size - 1)[: span_bits + log_bus] >> log_bus
            m.d.sync += [word.eq(row.addr[log_bus:]), end.eq(last), active.eq(1)]
            blocks.set(m, last[log_beats:])
        return m
