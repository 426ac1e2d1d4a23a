"""Hands every instruction to its unit, in order."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, LOAD_UNIT_MEMORIES, Opcode, opcodes

from .countdown import Countdown
from .issue import INDEX_BITS, insn_stream
from .layouts import insn_layout


class Dispatch(wiring.Component):
    """One instruction a cycle from ``insns`` to the queue of its unit, ``count`` from ``start`` on.

    FINISH is the last one: what follows it is never dispatched. An unknown opcode is dropped with
    ``opcode_error``. ``index`` is that of the next one. ``finish_seen`` and ``exhausted`` (all dispatched, no
    FINISH among them) say that nothing more will be dispatched.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._compute_opcodes = [op for op in opcodes(cfg) if op not in (Opcode.LOAD, Opcode.STORE)]
        super().__init__(
            {
                "start": In(1),
                "count": In(32),
                "insns": In(stream.Signature(INSN_BITS)),
                "load": Out(insn_stream()),
                "compute": Out(insn_stream()),
                "store": Out(insn_stream()),
                "finish_seen": Out(1),
                "exhausted": Out(1),
                "opcode_error": Out(1),
                "index": Out(INDEX_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        insn = data.View(insn_layout(self._cfg, Opcode.LOAD), self.insns.payload)
        left = Countdown(32, "left")
        to_load = Signal()
        taken = Signal()
        ended = Signal()
        m.d.comb += [
            self.exhausted.eq((left.value == 0) & ~self.finish_seen),
            ended.eq(self.finish_seen | (left.value == 0)),
            to_load.eq(Cat(insn.memory_type == memory for memory in LOAD_UNIT_MEMORIES).any()),
            self.insns.ready.eq(taken),
        ]
        for queue in (self.load, self.compute, self.store):
            m.d.comb += [queue.payload.insn.eq(self.insns.payload), queue.payload.index.eq(self.index)]
        with m.If(self.insns.valid & ~ended), m.Switch(insn.opcode):
            with m.Case(Opcode.LOAD):
                m.d.comb += [
                    self.load.valid.eq(to_load),
                    self.compute.valid.eq(~to_load),
                    taken.eq(Mux(to_load, self.load.ready, self.compute.ready)),
                ]
            with m.Case(Opcode.STORE):
                m.d.comb += [self.store.valid.eq(1), taken.eq(self.store.ready)]
            with m.Case(*self._compute_opcodes):
                m.d.comb += [self.compute.valid.eq(1), taken.eq(self.compute.ready)]
            with m.Default():
                m.d.comb += [self.opcode_error.eq(1), taken.eq(1)]
        with m.If(self.start):
            left.set(m, self.count)
            m.d.sync += self.index.eq(0)
        with m.Elif(taken):
            left.step(m)
            m.d.sync += self.index.eq(self.index + 1)
            m.d.sync += self.finish_seen.eq(insn.opcode == Opcode.FINISH)
        return m
