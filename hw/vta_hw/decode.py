"""Decodes the compute unit's instructions: which engine, which micro-ops, which accumulator banks."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, LOAD_UNIT_MEMORIES, Memory, Opcode, alu_ops, loadable, opcodes

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


def compute_memories(cfg: VTAConfig) -> tuple[Memory, ...]:
    """Memory types whose LOAD runs in the compute unit."""
    return tuple(memory for memory in loadable(cfg) if memory not in LOAD_UNIT_MEMORIES)


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
    """Two register stages: a decoded instruction a cycle, latency two cycles. The first adds up what a load writes.

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
        out, given = self.decoded.payload, self.insns.payload
        mem = data.View(insn_layout(self._cfg, Opcode.LOAD), given.insn)
        valid, free = Signal(), Signal()
        insn, index = Signal(INSN_BITS, reset_less=True), Signal(INDEX_BITS, reset_less=True)
        end = Signal(len(mem.sram_base) + 2, reset_less=True)
        m.d.comb += [free.eq(~self.decoded.valid | self.decoded.ready), self.insns.ready.eq(~valid | free)]
        with m.If(self.insns.ready):
            m.d.sync += [valid.eq(self.insns.valid), insn.eq(given.insn), index.eq(given.index)]
            m.d.sync += end.eq((mem.sram_base + mem.x_size) + (mem.x_pad_0 + mem.x_pad_1))
        with m.If(free):
            m.d.sync += [self.decoded.valid.eq(valid), out.insn.eq(insn), out.index.eq(index)]
            self._decode(m, out, insn, end)
        return m

    def _decode(self, m: Module, out: data.View, insn: Signal, end: Signal) -> None:
        """Everything about ``insn``, a load of which would write the elements before ``end``."""
        cfg = self._cfg
        mem, gemm, alu = (
            data.View(insn_layout(cfg, opcode), insn) for opcode in (Opcode.LOAD, Opcode.GEMM, Opcode.ALU)
        )
        rows = load_rows(cfg, mem)
        nothing = (mem.x_size == 0) | (rows == 0)
        unknown = ~Cat(mem.memory_type == memory for memory in compute_memories(cfg)).any()
        bad_alu = ~Cat(alu.alu_opcode == op for op in alu_ops(cfg)).any()
        array_opcodes = [op for op in (Opcode.GEMM, Opcode.DEPTHWISE) if op in opcodes(cfg)]
        engine = Signal(len(Engine).bit_length())
        m.d.comb += engine.eq(Engine.NONE)
        with m.Switch(mem.opcode):
            with m.Case(Opcode.LOAD):
                loads = Mux(mem.memory_type == Memory.UOP, Engine.UOP, Engine.ACC)
                m.d.comb += engine.eq(Mux(nothing | unknown, Engine.NONE, loads))
            with m.Case(*array_opcodes):
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
        self._decode_uops(m, out, gemm, is_load, mem.sram_base, end, several)
        last = (end - 1)[: cfg.log_acc_depth]
        both = several | (end > cfg.acc_depth)
        top = cfg.log_acc_depth - 1
        banks = [both | (mem.sram_base[top] == bank) | (last[top] == bank) for bank in range(2)]
        if "requant" in cfg.extensions:
            # A load of parameters writes no accumulator.
            banks = [bank & (mem.memory_type != Memory.REQ) for bank in banks]
        m.d.sync += [out.banks[number].eq(bank) for number, bank in enumerate(banks)]

    def _decode_uops(
        self, m: Module, out: data.View, gemm: data.View, is_load: Value, base: Value, end: Value, rows: Value
    ) -> None:
        """The range of micro-ops that a load writes, or that a GEMM or ALU instruction reads."""
        depth = self._cfg.uop_depth
        first, beyond = Mux(is_load, base, gemm.uop_bgn), Mux(is_load, end, gemm.uop_end)
        everything = (is_load & rows) | (beyond > depth)
        m.d.sync += [out.first.eq(Mux(everything, 0, first)), out.beyond.eq(Mux(everything, depth, beyond))]
