"""GEMM and ALU as engines of the compute unit: an instruction goes in, its steps wait for their turn."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import UOP_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, AluOp, Opcode

from .alu import Alu
from .depthwise import input_port
from .gemm import Gemm
from .layouts import insn_layout
from .loop import MicroOpLoop
from .requant_engine import RequantEngine
from .requantizer import RequantPort, vector_parts
from .scratchpad import BankedReadPort, ReadPort, WritePort


def claim_layout(cfg: VTAConfig) -> data.StructLayout:
    """The micro-ops ``first`` up to ``beyond`` are being read or written, if ``valid``."""
    return data.StructLayout({"first": cfg.log_uop_depth + 1, "beyond": cfg.log_uop_depth + 1, "valid": 1})


def overlap(left: data.View, right: data.View) -> Value:
    """Whether two claims share a micro-op."""
    shared: Value = left.valid & right.valid & (left.first < right.beyond) & (right.first < left.beyond)
    return shared


def _engine_ports(cfg: VTAConfig) -> dict[str, wiring.Member]:
    return {
        "issue": In(1),
        "insn": In(INSN_BITS),
        "claim": In(claim_layout(cfg)),
        "room": Out(1),
        "go": In(1),
        "step": Out(1),
        "uop": Out(ReadPort(cfg.log_uop_depth, UOP_BITS)),
        "write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, 1)),
        "done": Out(1),
        "range_error": Out(1),
    }


class GemmEngine(wiring.Component):
    """One instruction in the loop and one waiting, so that they follow each other without a gap.

    ``issue`` takes ``insn`` and the micro-ops it ``claim``s while ``room``. A step goes on when ``go``; ``bank`` is
    the bank of the step that asks, ``step`` says that it went, ``last`` that the instruction's last one did.
    ``waiting_claim`` and ``loop_claim`` are the micro-ops still to be read.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        super().__init__(
            {
                **_engine_ports(cfg),
                "bank": Out(1),
                "last": Out(1),
                "waiting_claim": Out(claim_layout(cfg)),
                "loop_claim": Out(claim_layout(cfg)),
                "inp": Out(input_port(cfg)),
                "wgt": Out(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "acc": Out(BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.loop = loop = MicroOpLoop(self._cfg, Opcode.GEMM)
        m.submodules.gemm = gemm = Gemm(self._cfg)
        connect(m, loop.uop, flipped(self.uop))
        for name in ("inp", "wgt", "acc", "write"):
            connect(m, getattr(gemm, name), flipped(getattr(self, name)))
        waiting = Signal()
        insn = Signal(INSN_BITS, reset_less=True)
        claim = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="held_claim"))
        in_loop = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="claim_in_loop"))
        starts = waiting & loop.ready
        m.d.comb += [
            self.room.eq(~waiting | loop.ready),
            loop.start.eq(starts),
            loop.insn.eq(insn),
            self.waiting_claim.eq(claim),
            self.waiting_claim.valid.eq(waiting),
            self.loop_claim.eq(in_loop),
            self.loop_claim.valid.eq(loop.busy),
        ]
        with m.If(self.issue):
            m.d.sync += [waiting.eq(1), insn.eq(self.insn), claim.eq(self.claim)]
        with m.Elif(starts):
            m.d.sync += waiting.eq(0)
        with m.If(starts):
            # What the loop still has in its stages has read its micro-ops already, all but one.
            m.d.sync += in_loop.eq(claim)
        step = loop.steps.payload
        asks = loop.steps.valid & (self.go | step.void)
        goes = asks & gemm.steps.ready
        m.d.comb += [
            self.bank.eq(step.dst[-1]),
            self.step.eq(goes & ~step.void),
            self.last.eq(goes & step.last),
            loop.steps.ready.eq((self.go | step.void) & gemm.steps.ready),
            gemm.steps.valid.eq(asks),
            gemm.steps.payload.eq(step),
            self.done.eq(gemm.done),
            self.range_error.eq(gemm.range_error),
        ]
        return m


class AluEngine(wiring.Component):
    """One instruction at a time.

    ``issue`` takes ``insn`` and the micro-ops it ``claim``s while ``room``. A step goes on when ``go``; ``banks`` are
    the banks of the step that asks, ``step`` says that it went. ``loop_claim`` are the micro-ops still to be read.
    ``requantizes``: the instruction under way is REQ, which a :class:`RequantEngine` executes; it has a write port
    of its own.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        port = BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)
        requant = {
            "requant": Out(RequantPort(cfg)),
            "requantizes": Out(1),
            "requant_write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, vector_parts(cfg))),
        }
        super().__init__(
            {
                **_engine_ports(cfg),
                "banks": Out(2),
                "loop_claim": Out(claim_layout(cfg)),
                "dst": Out(port),
                "src": Out(port),
                **(requant if "requant" in cfg.extensions else {}),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.loop = loop = MicroOpLoop(self._cfg, Opcode.ALU)
        m.submodules.alu = alu = Alu(self._cfg)
        connect(m, loop.uop, flipped(self.uop))
        connect(m, alu.src, flipped(self.src))
        starts, busy = Signal(), Signal()
        insn = data.View(insn_layout(self._cfg, Opcode.ALU), Signal(INSN_BITS, name="held_insn", reset_less=True))
        claim = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="held_claim"))
        step = loop.steps.payload
        goes = self.go | step.void
        requantizes, ready, executing = self._elaborate_executors(m, alu, insn, loop.steps.valid & goes, step)
        m.d.comb += [
            self.room.eq(~busy),
            loop.start.eq(starts),
            loop.insn.eq(insn),
            self.loop_claim.eq(claim),
            self.loop_claim.valid.eq(starts | loop.busy),
            self.done.eq(busy & ~starts & ~loop.busy & ~executing),
        ]
        m.d.sync += starts.eq(self.issue)
        with m.If(self.issue):
            m.d.sync += [busy.eq(1), insn.eq(self.insn), claim.eq(self.claim)]
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        dst, src = step.dst[-1], step.src[self._cfg.log_acc_depth - 1]
        one_hot = Cat(~dst, dst)
        m.d.comb += [
            self.banks.eq(one_hot | Mux(insn.use_imm | requantizes, 0, Cat(~src, src))),
            self.step.eq(loop.steps.valid & loop.steps.ready & ~step.void),
            loop.steps.ready.eq(ready & goes),
        ]
        return m

    def _elaborate_executors(
        self, m: Module, alu: Alu, insn: data.View, valid: Value, step: data.View
    ) -> tuple[Value, Value, Value]:
        """The ALU, and what requantizes. Returns whether that has the instruction, whether the step can be
        taken, and whether steps are being executed."""
        m.d.comb += [alu.insn.eq(insn), alu.steps.payload.eq(step)]
        connect(m, alu.write, flipped(self.write))
        if "requant" not in self._cfg.extensions:
            connect(m, alu.dst, flipped(self.dst))
            m.d.comb += [alu.steps.valid.eq(valid), self.range_error.eq(alu.range_error)]
            return Const(0), alu.steps.ready, alu.busy
        m.submodules.requant = requant = RequantEngine(self._cfg)
        connect(m, requant.requant, flipped(self.requant))
        connect(m, requant.write, flipped(self.requant_write))
        chosen = self.requantizes
        m.d.comb += [
            chosen.eq(insn.alu_opcode == AluOp.REQ),
            requant.insn.eq(insn),
            requant.steps.payload.eq(step),
            alu.steps.valid.eq(valid & ~chosen),
            requant.steps.valid.eq(valid & chosen),
            self.range_error.eq(alu.range_error | requant.range_error),
            self.dst.en.eq(alu.dst.en | requant.requant.taken),
            self.dst.addr.eq(step.dst),
            Cat(alu.dst.banks).eq(Cat(self.dst.banks)),
        ]
        return chosen, Mux(chosen, requant.steps.ready, alu.steps.ready), alu.busy | requant.busy
