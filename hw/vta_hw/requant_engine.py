"""The ALU operation REQ: requantizes accumulators in place."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .layouts import insn_layout
from .loop import step_layout
from .requant_lane import delayed
from .requantizer import Requantizer, RequantPort, vector_parts
from .scratchpad import WritePort


class RequantEngine(wiring.Component):
    """acc[dst] = requantized acc[dst], with the result of sequential execution.

    The parameters' index is the step's ``src``, or ``imm`` without a sign. A step waits for its turn in the
    requantizer, and while its accumulator is still to be written by an earlier step. Otherwise: a step in
    :func:`vector_parts` cycles. The user reads the accumulator when ``requant`` has ``taken`` it. ``busy`` falls when
    all is written; ``insn`` stays stable until then.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._parts = vector_parts(cfg)
        super().__init__(
            {
                "insn": In(INSN_BITS),
                "steps": In(stream.Signature(step_layout(cfg))),
                "write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, self._parts)),
                "requant": Out(RequantPort(cfg)),
                "busy": Out(1),
                "range_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg, step, port = self._cfg, self.steps.payload, self.requant
        insn = data.View(insn_layout(cfg, Opcode.ALU), self.insn)
        immediate = insn.imm.as_unsigned()
        work = self.steps.valid & ~step.void
        over = Mux(insn.use_imm, immediate >> cfg.log_req_depth != 0, step.req_over)
        m.d.comb += [
            port.ask.eq(work & ~self._elaborate_hazard(m, step.dst, port)),
            port.taken.eq(port.go),
            port.index.eq(Mux(insn.use_imm, immediate, step.src)),
            self.steps.ready.eq(port.go | step.void),
            port.bank.eq(step.dst[-1]),
            self.write.mask.eq(port.part),
            self.write.addr.eq(self._written(m, step.dst)),
            self.write.data.eq(port.data.replicate(self._parts)),
        ]
        m.d.sync += self.range_error.eq(port.go & (step.uop_over | step.dst_over | over))
        return m

    def _elaborate_hazard(self, m: Module, dst: Value, port: wiring.PureInterface) -> Value:
        """Whether ``dst`` is under way: the accumulators taken last, as many as are not written yet."""
        most = -(-(Requantizer.LATENCY + self._parts) // self._parts)
        under_way = Signal(range(most + 1))
        m.d.sync += under_way.eq(under_way + port.taken - port.part[-1])
        m.d.comb += self.busy.eq(under_way != 0)
        hits = []
        previous = dst
        for number in range(most):
            taken = Signal(self._cfg.log_acc_depth, name=f"taken_{number}", reset_less=True)
            with m.If(port.taken):
                m.d.sync += taken.eq(previous)
            hits.append((under_way > number) & (taken == dst))
            previous = taken
        return Cat(*hits).any()

    def _written(self, m: Module, dst: Value) -> Value:
        """The accumulator whose parts come now."""
        first = delayed(m, dst, Requantizer.LATENCY)
        held = Signal.like(first, name="written", reset_less=True)
        with m.If(self.requant.part[0]):
            m.d.sync += held.eq(first)
        return Mux(self.requant.part[0], first, held)
