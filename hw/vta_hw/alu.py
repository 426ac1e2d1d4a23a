"""Executes ALU instructions on accumulator vectors."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, AluOp, Opcode

from .alu_lanes import FINE_BITS, AluLanes
from .held import held_unless
from .layouts import insn_layout
from .loop import step_layout
from .multiplier import LowMultipliers, swapped
from .scratchpad import BankedReadPort, WritePort, bank_read
from .twins import twin_registers

READ_CYCLES = 2
"""From the acceptance of a step to its operands, registered."""
CYCLES = READ_CYCLES + AluLanes.LATENCY
MUL_CYCLES = READ_CYCLES + AluLanes.MUL_LATENCY
"""From the acceptance of a step to its write."""
IN_FLIGHT = CYCLES
"""Steps accepted and not yet written, that of the write included; multiplications are fewer."""


class Alu(wiring.Component):
    """acc[dst] = op(acc[dst], imm or acc[src]), with the result of sequential execution.

    A step waits while one of its accumulators is still to be written by an earlier step, so that
    results need no forwarding. Otherwise: one step a cycle with an immediate or with accumulators in
    both banks, one in two cycles with two accumulators of one bank; MUL takes two cycles more.
    From acceptance to the write ``CYCLES`` or, for MUL, ``MUL_CYCLES``. ``insn`` is there before its first
    step and stable while ``busy``; ``busy`` falls when all is written.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._lanes = cfg.batch * cfg.block_out
        port = BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)
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
        m.submodules.lanes = lanes = AluLanes(width=self._cfg.acc_width, lanes=self._lanes)
        insn = data.View(insn_layout(self._cfg, Opcode.ALU), self.insn)
        step = self.steps.payload
        is_mul = insn.alu_opcode == AluOp.MUL
        reads, accepted, writes = Signal(), Signal(), Signal()
        flying, conflict = self._elaborate_flying(m, accepted, writes, insn.use_imm)
        self._elaborate_reads(m, insn.use_imm, is_mul, conflict, reads, accepted)
        age = Signal(MUL_CYCLES)
        m.d.comb += age[0].eq(accepted)
        m.d.sync += [
            age[1:].eq(age),
            age[CYCLES].eq(age[CYCLES - 1] & is_mul),
            writes.eq(Mux(is_mul, age[MUL_CYCLES - 1], age[CYCLES - 1])),
            self.range_error.eq(accepted & (step.uop_over | step.dst_over | (~insn.use_imm & step.acc_over))),
        ]
        swaps = Signal()
        m.d.comb += swaps.eq(is_mul & age[READ_CYCLES : READ_CYCLES + LowMultipliers.SWAPS].any())
        operands = Module()
        self._elaborate_operands(operands, insn, lanes, reads, age[1], swaps)
        m.submodules.operands = held_unless(m, self.busy)(operands)
        m.d.comb += [
            lanes.works.eq(self.busy),
            lanes.op.eq(insn.alu_opcode),
            lanes.start.eq(age[READ_CYCLES]),
            self.write.mask.eq(writes),
            self.write.data.eq(lanes.out),
            self.busy.eq(self.steps.valid | flying.any()),
        ]
        return m

    def _elaborate_flying(self, m: Module, accepted: Signal, writes: Signal, use_imm: Value) -> tuple[Signal, Signal]:
        """The accumulators of the latest steps, newest first, and which of them are still to be written.

        Steps are written in order: the oldest is next. Also returns whether the step that asks needs one of them.
        """
        step = self.steps.payload
        flying, hits = Signal(IN_FLIGHT), Signal(IN_FLIGHT)
        latest = [Signal(self._cfg.log_acc_depth, name=f"dst_{n}", reset_less=True) for n in range(IN_FLIGHT)]
        with m.If(accepted):
            m.d.sync += [newer.eq(older) for newer, older in zip(latest, [step.dst, *latest], strict=False)]
        with m.If(accepted & ~writes):
            m.d.sync += flying.eq(Cat(1, flying))
        with m.Elif(writes & ~accepted):
            m.d.sync += flying.eq(flying >> 1)
        for dst, waits, hit in zip(latest, flying, hits, strict=True):
            m.d.comb += hit.eq(waits & ((dst == step.dst) | (~use_imm & (dst == step.src[: len(dst)]))))
            with m.If(waits):
                m.d.comb += self.write.addr.eq(dst)
        return flying, hits.any()

    def _elaborate_reads(
        self, m: Module, use_imm: Value, is_mul: Value, conflict: Value, reads: Signal, accepted: Signal
    ) -> None:
        """Reads both operands, in one cycle where they lie in different banks, else ``src`` first.

        ``reads`` is the first of these cycles, ``accepted`` the last one; a step that is void has neither.
        """
        step = self.steps.payload
        src = step.src[: self._cfg.log_acc_depth]
        two_cycles, second = Signal(), Signal()
        # A multiplication uses its operands in several cycles, which the next ones must not overwrite.
        pause = Signal(AluLanes.MUL_INTERVAL - 1)
        m.d.sync += [pause.eq(Cat(accepted & is_mul, pause)), second.eq(reads & two_cycles)]
        m.d.comb += [
            two_cycles.eq(~use_imm & (src[-1] == step.dst[-1])),
            reads.eq(self.steps.valid & ~step.void & ~second & ~conflict & ~pause.any()),
            accepted.eq(second | (reads & ~two_cycles)),
            self.steps.ready.eq(accepted | (self.steps.valid & step.void)),
            self.dst.en.eq(accepted),
            self.dst.addr.eq(step.dst),
            self.src.en.eq(reads & ~use_imm),
            self.src.addr.eq(src),
        ]

    def _elaborate_operands(
        self, m: Module, insn: data.View, lanes: AluLanes, reads: Value, arrived: Value, swaps: Value
    ) -> None:
        """Both operands, registered; ``y`` may be there a cycle earlier. ``swaps`` exchanges the halves of their words.
        Registers need only change while steps are under way.

        The source of each is a number: so one LUT a bit chooses.
        """
        immediate = Signal(signed(self._cfg.acc_width))
        loads_y = Signal()
        m.d.comb += immediate.eq(insn.imm)
        m.d.sync += loads_y.eq(reads)
        x, y = (Signal(self._cfg.acc_elem_bits, name=name, reset_less=True) for name in "xy")
        swapped_x, swapped_y = (swapped(value, self._cfg.acc_width) for value in (x, y))
        sources_x = Array([*self.dst.banks, swapped_x, swapped_x])
        sources_y = Array([*self.src.banks, immediate.as_unsigned().replicate(self._lanes), swapped_y])
        bank_x, bank_y = bank_read(m, self.dst), bank_read(m, self.src)
        chosen_y = Signal.like(y, name="chosen_y")
        words_y = [chosen_y.word_select(lane, self._cfg.acc_width) for lane in range(self._lanes)]
        m.d.comb += chosen_y.eq(sources_y[Mux(swaps, 3, Mux(insn.use_imm, 2, bank_y))])
        with m.If(arrived | swaps):
            m.d.sync += x.eq(sources_x[Cat(bank_x, swaps)])
        with m.If(loads_y | swaps):
            m.d.sync += y.eq(chosen_y)
        m.d.comb += [lanes.x.eq(x), lanes.y.eq(y)]
        fine = twin_registers(self._lanes * FINE_BITS, "fine")
        for register, port in zip(fine, lanes.fine, strict=True):
            m.d.comb += port.eq(register)
            with m.If(insn.alu_opcode != AluOp.SHR):
                m.d.sync += register.eq(0)
            with m.Elif(loads_y):
                m.d.sync += register.eq(Cat(word[:FINE_BITS] for word in words_y))
