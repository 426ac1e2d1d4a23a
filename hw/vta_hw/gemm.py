"""Executes GEMM: the pipeline from loop indices to accumulated sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .layouts import insn_layout
from .loop import index_layout
from .mac_array import MacArray
from .scratchpad import ReadPort, WritePort


class Gemm(wiring.Component):
    """acc[dst] += inp[src] * wgt[wgt], or acc[dst] = 0 for a reset; one step a cycle, always ready.

    The accumulator is read two cycles before its sum arrives. A step that follows another on the same
    accumulator takes the newer value from one of three places: the sum being written, the one
    written a cycle ago, or memory. ``busy`` falls when the last sum has been written.
    """

    OPERAND_LATENCY = 2
    """From indices to multiplier operands: memory, and its output register."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "insn": In(INSN_BITS),
                "steps": In(stream.Signature(index_layout(cfg))),
                "inp": Out(ReadPort(cfg.log_inp_depth, cfg.inp_elem_bits)),
                "wgt": Out(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "acc": Out(ReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, 1)),
                "busy": Out(1),
                "range_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.array = array = MacArray(self._cfg)
        insn = data.View(insn_layout(self._cfg, Opcode.GEMM), self.insn)
        step = self.steps.payload
        multiply = self.steps.valid & ~insn.reset
        m.d.comb += [
            self.steps.ready.eq(1),
            self.inp.en.eq(multiply),
            self.inp.addr.eq(step.src),
            self.wgt.en.eq(multiply),
            self.wgt.addr.eq(step.wgt),
        ]
        over = step.uop_over | step.dst_over | (~insn.reset & (step.inp_over | step.wgt_over))
        m.d.sync += [
            array.inp.eq(self.inp.data),
            array.wgt.eq(self.wgt.data),
            self.range_error.eq(self.steps.valid & over),
        ]
        valid, dst = self._delay(m, step.dst, self.OPERAND_LATENCY + array.latency)
        m.d.comb += [self.acc.en.eq(valid[-3]), self.acc.addr.eq(dst[-3])]
        self._accumulate(m, array, insn.reset, valid, dst)
        m.d.comb += self.busy.eq(Cat(*valid).any() | self.write.mask)
        return m

    def _delay(self, m: Module, dst: Value, stages: int) -> tuple[list[Value], list[Value]]:
        """Valid bit and accumulator index at every stage, the steps' own first."""
        valid: list[Value] = [self.steps.valid]
        index: list[Value] = [dst]
        for stage in range(stages):
            valid_next = Signal(name=f"valid_{stage}")
            index_next = Signal(self._cfg.log_acc_depth, name=f"dst_{stage}", reset_less=True)
            m.d.sync += [valid_next.eq(valid[-1]), index_next.eq(index[-1])]
            valid.append(valid_next)
            index.append(index_next)
        return valid, index

    def _accumulate(self, m: Module, array: MacArray, reset: Value, valid: list[Value], dst: list[Value]) -> None:
        """Adds the sums to the newest value of their accumulators."""
        cfg = self._cfg
        before = Signal(cfg.acc_elem_bits)
        newest = Signal(cfg.acc_elem_bits, reset_less=True)
        written = Signal(cfg.acc_elem_bits, reset_less=True)
        written_addr = Signal(cfg.log_acc_depth, reset_less=True)
        written_valid = Signal()
        write = self.write
        m.d.sync += [written.eq(write.data), written_addr.eq(write.addr), written_valid.eq(write.mask)]
        # One stage before the addition: sums that memory did not yet hold when it was read.
        with m.If(write.mask & (write.addr == dst[-2])):
            m.d.sync += newest.eq(write.data)
        with m.Elif(written_valid & (written_addr == dst[-2])):
            m.d.sync += newest.eq(written)
        with m.Else():
            m.d.sync += newest.eq(self.acc.data)
        # At the addition: the sum of the step just before.
        m.d.comb += before.eq(Mux(write.mask & (write.addr == dst[-1]), write.data, newest))
        sums = []
        for lane in range(cfg.batch * cfg.block_out):
            psum = array.psum.word_select(lane, array.sum_bits).as_signed()
            sums.append((before.word_select(lane, cfg.acc_width) + psum)[: cfg.acc_width])
        m.d.sync += [
            write.mask.eq(valid[-1]),
            write.addr.eq(dst[-1]),
            write.data.eq(Mux(reset, 0, Cat(*sums))),
        ]
