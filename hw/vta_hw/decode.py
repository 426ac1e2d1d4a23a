"""Decodes the compute unit's instructions: which engine, which micro-ops, which accumulator banks."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode, alu_ops

from .issue import INDEX_BITS, insn_stream
from .layouts import insn_layout, load_rows


class Engine(IntEnum):
    """Engines of the compute unit; NONE is for instructions of which only the tokens count."""

    GEMM = 0
    ALU = 1
    UOP = 2
    ACC = 3
    NONE = 4


ENGINES = len(Engine) - 1
COMPUTE_MEMORIES = (Memory.UOP, Memory.ACC, Memory.ACC_8BIT)


def decoded_layout(cfg: VTAConfig) -> data.StructLayout:
    """``first`` to ``beyond`` are the micro-ops that are read or written, ``banks`` what LOAD ACC writes."""
    return data.StructLayout(
        {
            "insn": INSN_BITS,
            "index": INDEX_BITS,
            "engine": len(Engine).bit_length(),
            "first": cfg.log_uop_depth + 1,
            "beyond": cfg.log_uop_depth + 1,
            "banks": 2,
            "one_bank": 1,
            "bad_opcode": 1,
            "bad_memory": 1,
        }
    )


class Decode(wiring.Component):
    """One register stage: a decoded instruction a cycle, latency one cycle.

    The micro-ops of a load of several rows, or of one that wraps, count as all of them, and so do the
    banks: a wider claim only costs time.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "insns": In(insn_stream()),
                "decoded": Out(stream.Signature(decoded_layout(cfg))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        out = self.decoded.payload
        m.d.comb += self.insns.ready.eq(~self.decoded.valid | self.decoded.ready)
        with m.If(self.insns.ready):
            m.d.sync += [self.decoded.valid.eq(self.insns.valid), out.insn.eq(self.insns.payload.insn)]
            m.d.sync += out.index.eq(self.insns.payload.index)
            self._decode(m, out)
        return m

    def _decode(self, m: Module, out: data.View) -> None:
        cfg = self._cfg
        mem, gemm, alu = (
            data.View(insn_layout(cfg, opcode), self.insns.payload.insn)
            for opcode in (Opcode.LOAD, Opcode.GEMM, Opcode.ALU)
        )
        rows = load_rows(cfg, mem)
        nothing = (mem.x_size == 0) | (rows == 0)
        unknown = ~Cat(mem.memory_type == memory for memory in COMPUTE_MEMORIES).any()
        bad_alu = ~Cat(alu.alu_opcode == op for op in alu_ops(cfg)).any()
        engine = Signal(len(Engine).bit_length())
        m.d.comb += engine.eq(Engine.NONE)
        with m.Switch(mem.opcode):
            with m.Case(Opcode.LOAD):
                loads = Mux(mem.memory_type == Memory.UOP, Engine.UOP, Engine.ACC)
                m.d.comb += engine.eq(Mux(nothing | unknown, Engine.NONE, loads))
            with m.Case(Opcode.GEMM):
                m.d.comb += engine.eq(Engine.GEMM)
            with m.Case(Opcode.ALU):
                m.d.comb += engine.eq(Mux(bad_alu, Engine.NONE, Engine.ALU))
        is_load = mem.opcode == Opcode.LOAD
        has_steps = (gemm.uop_end > gemm.uop_bgn) & (gemm.iter_in != 0) & (gemm.iter_out != 0)
        m.d.sync += [
            out.engine.eq(engine),
            # An instruction without a step lies in no bank: its tokens wait for all that is older.
            out.one_bank.eq(gemm["one_bank"] & has_steps if "overlap" in cfg.extensions else 0),
            out.bad_memory.eq(is_load & unknown),
            out.bad_opcode.eq((mem.opcode == Opcode.ALU) & bad_alu),
        ]
        several = (rows != 1) | (mem.y_pad_0 != 0) | (mem.y_pad_1 != 0)
        end = Signal(len(mem.sram_base) + 2)
        m.d.comb += end.eq(mem.sram_base + mem.x_pad_0 + mem.x_size + mem.x_pad_1)
        self._decode_uops(m, out, gemm, is_load, mem.sram_base, end, several)
        last = (end - 1)[: cfg.log_acc_depth]
        both = several | (end > cfg.acc_depth)
        top = cfg.log_acc_depth - 1
        m.d.sync += [out.banks[bank].eq(both | (mem.sram_base[top] == bank) | (last[top] == bank)) for bank in range(2)]

    def _decode_uops(
        self, m: Module, out: data.View, gemm: data.View, is_load: Value, base: Value, end: Value, rows: Value
    ) -> None:
        """The range of micro-ops that a load writes, or that a GEMM or ALU instruction reads."""
        depth = self._cfg.uop_depth
        first, beyond = Mux(is_load, base, gemm.uop_bgn), Mux(is_load, end, gemm.uop_end)
        everything = (is_load & rows) | (beyond > depth)
        m.d.sync += [out.first.eq(Mux(everything, 0, first)), out.beyond.eq(Mux(everything, depth, beyond))]
