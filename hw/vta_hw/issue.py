"""What goes between dispatch and a unit: instructions with their index, and tokens."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from vta_arch.constants import QUEUED_INSNS
from vta_arch.isa import INSN_BITS

INDEX_BITS = 32
"""Bits of an instruction's index in the stream."""


def insn_stream() -> stream.Signature:
    """Instructions on their way to a unit, each with its index in the stream: payload ``insn`` and ``index``."""
    return stream.Signature(data.StructLayout({"insn": INSN_BITS, "index": INDEX_BITS}))


class TokenPort(wiring.Signature):
    """One neighbour's pair of dependency queues, from the unit's side."""

    def __init__(self) -> None:
        super().__init__({"pop": Out(1), "available": In(1), "push": Out(1), "full": In(1)})


QUEUE_PLACES = 512
"""Depth of a queue's memory: a block RAM has no fewer."""


class InsnQueue(wiring.Component):
    """QUEUED_INSNS instructions, and one in a register: the first logic behind a block RAM does not share its cycle.

    One instruction in two cycles, as many as a 64-bit bus brings: the register is filled when it is empty, so that
    what a unit decides about its head does not reach the queue's pointers in the same cycle. Latency three cycles.
    ``empty``: nothing is in it.
    """

    def __init__(self) -> None:
        super().__init__({"given": In(insn_stream()), "insns": Out(insn_stream()), "empty": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=INSN_BITS + INDEX_BITS, depth=QUEUE_PLACES)
        room = Signal(init=1)
        # Seen a cycle late: the memory has places enough.
        m.d.sync += room.eq(fifo.level < QUEUED_INSNS - 1)
        m.d.comb += [
            fifo.w_data.eq(self.given.payload),
            fifo.w_en.eq(self.given.valid & self.given.ready),
            self.given.ready.eq(room),
            fifo.r_en.eq(~self.insns.valid),
            self.empty.eq((fifo.level == 0) & ~self.insns.valid),
        ]
        with m.If(~self.insns.valid):
            m.d.sync += [self.insns.valid.eq(fifo.r_rdy), self.insns.payload.eq(fifo.r_data)]
        with m.Elif(self.insns.ready):
            m.d.sync += self.insns.valid.eq(0)
        return m
