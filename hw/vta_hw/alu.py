"""Executes ALU instructions on accumulator vectors."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, AluOp, Opcode

from .layouts import insn_layout
from .loop import step_layout
from .multiplier import LowMultiplier
from .scratchpad import ReadPort, WritePort


class Alu(wiring.Component):
    """acc[dst] = op(acc[dst], imm or acc[src]), with the result of sequential execution.

    A step waits while one of its accumulators is still to be written by an earlier step, so that
    results need no forwarding. Otherwise: one step a cycle with an immediate or with accumulators in
    both banks, one in two cycles with two accumulators of one bank; MUL waits for its product each
    time. ``insn`` stays stable while ``busy``; ``busy`` falls when all is written.
    """

    STAGES = 4
    """Cycles from reading the accumulator to writing it, both included."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._lanes = cfg.batch * cfg.block_out
        port = ReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)
        super().__init__(
            {
                "insn": In(INSN_BITS),
                "steps": In(stream.Signature(step_layout(cfg))),
                "dst": Out(port),
                "src": Out(port),
                "write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, 1)),
                "busy": Out(1),
                "range_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        insn = data.View(insn_layout(self._cfg, Opcode.ALU), self.insn)
        step = self.steps.payload
        is_mul = insn.alu_opcode == AluOp.MUL
        valid = [Signal(name=f"valid_{n}") for n in range(self.STAGES)]
        dst = [Signal(self._cfg.log_acc_depth, name=f"dst_{n}", reset_less=True) for n in range(self.STAGES)]
        multiplying, accepted = Signal(), Signal()
        early = self._elaborate_reads(m, insn, valid, dst, multiplying, accepted)
        m.d.sync += [
            valid[0].eq(accepted & ~step.void),
            dst[0].eq(step.dst),
            self.range_error.eq(
                accepted & ~step.void & (step.uop_over | step.dst_over | (~insn.use_imm & step.acc_over))
            ),
        ]
        x, y = self._operands(m, insn, early, valid, dst)
        starts = valid[1] & is_mul
        product, product_valid = self._multiply(m, x, y, starts, multiplying, accepted & ~step.void & is_mul)
        result = self._compute(m, insn, x, y)
        m.d.sync += [valid[2].eq(valid[1] & ~is_mul), dst[2].eq(dst[1])]
        m.d.sync += [valid[3].eq(valid[2] | product_valid), dst[3].eq(Mux(product_valid, dst[1], dst[2]))]
        m.d.sync += self.write.data.eq(Mux(product_valid, product, result))
        m.d.comb += [
            self.write.mask.eq(valid[3]),
            self.write.addr.eq(dst[3]),
            self.busy.eq(self.steps.valid | multiplying | Cat(*valid).any()),
        ]
        return m

    def _elaborate_reads(
        self, m: Module, insn: data.View, valid: list[Signal], dst: list[Signal], multiplying: Signal, accepted: Signal
    ) -> Signal:
        """Reads both operands, in one cycle where they lie in different banks, else ``src`` first.

        Returns whether ``src`` was read in the cycle before ``dst``.
        """
        step = self.steps.payload
        src = step.src[: self._cfg.log_acc_depth]
        hits = (v & ((d == step.dst) | (~insn.use_imm & (d == src))) for v, d in zip(valid, dst, strict=True))
        two_cycles, hazard, second, early = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            two_cycles.eq(~insn.use_imm & ~step.void & (src[-1] == step.dst[-1])),
            hazard.eq(multiplying | (~step.void & Cat(*hits).any())),
        ]
        go = self.steps.valid & (second | ~hazard)
        m.d.comb += [
            accepted.eq(go & (~two_cycles | second)),
            self.steps.ready.eq(accepted),
            self.dst.en.eq(accepted & ~step.void),
            self.dst.addr.eq(step.dst),
            self.src.en.eq(go & ~insn.use_imm & ~second & ~step.void),
            self.src.addr.eq(src),
        ]
        m.d.sync += [second.eq(go & two_cycles & ~second), early.eq(second)]
        return early

    def _operands(
        self, m: Module, insn: data.View, early: Signal, valid: list[Signal], dst: list[Signal]
    ) -> tuple[Signal, Signal]:
        """Both operands, registered at stage 1; they stay while a product is formed."""
        bits = self._cfg.acc_elem_bits
        held, x, y = (Signal(bits, name=n, reset_less=True) for n in ("held", "x", "y"))
        immediate = Signal(signed(self._cfg.acc_width))
        m.d.comb += immediate.eq(insn.imm)
        other = Mux(early, held, self.src.data)
        m.d.sync += [held.eq(self.src.data), valid[1].eq(valid[0])]
        with m.If(valid[0]):
            m.d.sync += [
                dst[1].eq(dst[0]),
                x.eq(self.dst.data),
                y.eq(Mux(insn.use_imm, immediate.as_unsigned().replicate(self._lanes), other)),
            ]
        return x, y

    def _multiply(
        self, m: Module, x: Signal, y: Signal, start: Value, multiplying: Signal, accepted: Value
    ) -> tuple[Value, Value]:
        """All lanes' products; nothing else is accepted from acceptance until they are written."""
        width = self._cfg.acc_width
        products = []
        done = Signal()
        for lane in range(self._lanes):
            unit = LowMultiplier(width)
            m.submodules[f"mul{lane}"] = unit
            m.d.comb += [
                unit.start.eq(start),
                unit.left.eq(x.word_select(lane, width)),
                unit.right.eq(y.word_select(lane, width)),
            ]
            products.append(unit.product)
        m.d.comb += done.eq(unit.done)
        with m.If(accepted):
            m.d.sync += multiplying.eq(1)
        with m.Elif(done):
            m.d.sync += multiplying.eq(0)
        return Cat(*products), done

    def _compute(self, m: Module, insn: data.View, x: Signal, y: Signal) -> Value:
        """Every other operation, in two stages: the shift uses both."""
        width = self._cfg.acc_width
        results = []
        for lane in range(self._lanes):
            a, b = (value.word_select(lane, width).as_signed() for value in (x, y))
            simple, kept = (Signal(width, name=f"{n}{lane}", reset_less=True) for n in ("simple", "kept"))
            amount = Signal(range(width), name=f"amount{lane}", reset_less=True)
            left = Signal(name=f"left{lane}", reset_less=True)
            less = a < b
            with m.Switch(insn.alu_opcode):
                with m.Case(AluOp.MIN):
                    m.d.sync += simple.eq(Mux(less, a, b))
                with m.Case(AluOp.MAX):
                    m.d.sync += simple.eq(Mux(less, b, a))
                with m.Default():
                    m.d.sync += simple.eq(a + b)
            magnitude = Mux(b[-1], -b, b).as_unsigned()
            m.d.sync += [
                kept.eq(a),
                left.eq(b[-1]),
                amount.eq(Mux(magnitude >= width, width - 1, magnitude)),
            ]
            shifted = Mux(left, kept << amount, (kept.as_signed() >> amount).as_unsigned())[:width]
            results.append(Mux(insn.alu_opcode == AluOp.SHR, shifted, simple))
        return Cat(*results)
