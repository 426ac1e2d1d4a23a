"""The compute unit: GEMM, ALU, and the loads of micro-ops and accumulators, side by side."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import Opcode

from .activity import ActivityPort
from .axi import ReadSignature
from .blame import BlamedPort
from .compute_loads import Loads, add_loads, loaded
from .compute_memories import add_accumulators, add_requantizer, add_uops
from .compute_status import Watched, add_status, lacking, observed
from .decode import ENGINES, Decode, Engine
from .depthwise import input_port
from .engines import AluEngine, GemmEngine, claim_layout, overlap
from .hazards import BankOrder
from .issue import TokenPort, insn_stream
from .layouts import insn_layout
from .loader import Loader
from .requantizer import RequantPort
from .retire import Retire
from .scratchpad import BankedReadPort, ReadPort

UNDER_WAY = 4
"""Tokens for each neighbour that wait for their instructions."""


class ComputeUnit(wiring.Component):
    """Issues instructions in order to engines that work side by side; holds micro-ops and accumulators.

    Results are those of sequential execution: :class:`BankOrder` keeps accumulator accesses in order, a
    load of micro-ops and those who read them wait for each other. Tokens: see :class:`Retire`.
    ``finished`` is high for one cycle when FINISH and all before it are done. ``clear`` forgets what
    waits for tokens; nothing may be executing then. ``blamed`` are the instructions to blame: for the unit's own
    errors, for a read ``outside`` the DMA window (a bit for each of ``buses``), for a run that is ``stuck`` or
    whose watchdog has ``expired``.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._loaded = loaded(cfg)
        bus = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "clear": In(1),
                "insns": In(insn_stream()),
                "prev": Out(TokenPort()),
                "next": Out(TokenPort()),
                "uop_base": In(cfg.axi_addr_width),
                "acc_base": In(cfg.axi_addr_width),
                **{f"{name}_bus": Out(bus) for name in self._loaded},
                "inp": Out(input_port(cfg)),
                "wgt": Out(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "store": In(BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "store_ready": Out(1),
                **({"store_requant": In(RequantPort(cfg))} if "requant" in cfg.extensions else {}),
                "finished": Out(1),
                "busy": Out(1),
                "waiting": Out(1),
                "activity": Out(ActivityPort()),
                "stuck": In(1),
                "expired": In(1),
                "outside": In(len(self._loaded)),
                "blamed": Out(BlamedPort()).array(ENGINES + 1),
                **{f"{error}_error": Out(1) for error in ("range", "opcode", "memory", "bank", "bus")},
            }
        )

    def buses(self) -> list[wiring.PureInterface]:
        """The read buses of its loaders."""
        return [getattr(self, f"{name}_bus") for name in self._loaded]

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg = self._cfg
        m.submodules.decode = decode = ResetInserter(self.clear)(Decode(cfg))
        m.submodules.retire = retire = ResetInserter(self.clear)(Retire(engines=ENGINES, depth=UNDER_WAY))
        m.submodules.order = order = BankOrder()
        m.submodules.gemm = gemm = GemmEngine(cfg)
        m.submodules.alu = alu = AluEngine(cfg)
        connect(m, flipped(self.insns), decode.insns)
        connect(m, gemm.inp, flipped(self.inp))
        connect(m, gemm.wgt, flipped(self.wgt))

        head = decode.decoded.payload
        ready, issue = Signal(len(Engine)), Signal(len(Engine))
        self._elaborate_issue(m, decode, retire, ready, issue)
        loads = add_loads(m, self, cfg, head, issue)
        loaders = loads.loaders
        self._elaborate_order(m, order, head, issue, gemm, alu, loaders)
        held = add_requantizer(m, self, cfg, head, alu, loaders["acc"]) if "requant" in cfg.extensions else {}
        uop_hazard = self._elaborate_room(m, decode, ready, order, gemm, alu, loads, held)
        add_uops(m, cfg, [gemm, alu], loaders["uop"])
        add_accumulators(m, self, cfg, gemm, alu, loaders["acc"])
        watched = Watched(decode, retire, order, gemm, alu, loaders, lacking(self, cfg, head), uop_hazard)
        add_status(m, self, watched, issue)
        self.observed = observed(watched)

        sources: list[GemmEngine | AluEngine | Loader] = [gemm, alu, *loaders.values()]
        m.d.comb += [
            retire.done.eq(Cat(gemm.done, alu.done, loaders["uop"].done, order.load_done)),
            self.finished.eq(retire.finished),
            self.busy.eq(retire.active),
            self.range_error.eq(Cat(source.range_error for source in sources).any()),
            self.bank_error.eq(order.bank_error.any()),
            self.bus_error.eq(Cat(loader.bus_error for loader in loaders.values()).any()),
        ]
        return m

    def _elaborate_issue(self, m: Module, decode: Decode, retire: Retire, ready: Signal, issue: Signal) -> None:
        """The head goes to its engine when that has room and all tokens are there."""
        head = decode.decoded.payload
        common = data.View(insn_layout(self._cfg, Opcode.FINISH), head.insn)
        pops = {self.prev: common.pop_prev, self.next: common.pop_next}
        missing = Cat(lacking(self, self._cfg, head)).any()
        go = decode.decoded.valid & retire.room & ~missing & ready.bit_select(head.engine, 1)
        m.d.comb += [
            issue.eq(Mux(go, 1 << head.engine, 0)),
            decode.decoded.ready.eq(go),
            retire.issue.eq(go),
            retire.engine.eq(head.engine),
            retire.gives.eq(Cat(common.push_prev, common.push_next)),
            retire.one_bank.eq(head.one_bank & (head.engine != Engine.NONE)),
            retire.is_finish.eq(common.opcode == Opcode.FINISH),
            retire.full.eq(Cat(self.prev.full, self.next.full)),
            Cat(self.prev.push, self.next.push).eq(retire.push),
            self.waiting.eq(retire.blocked | (~retire.active & decode.decoded.valid & missing)),
            self.opcode_error.eq(go & head.bad_opcode),
            self.memory_error.eq(go & head.bad_memory),
        ]
        for port, wanted in pops.items():
            m.d.comb += port.pop.eq(go & wanted)

    def _elaborate_order(
        self,
        m: Module,
        order: BankOrder,
        head: data.View,
        issue: Signal,
        gemm: GemmEngine,
        alu: AluEngine,
        loaders: dict[str, Loader],
    ) -> None:
        m.d.comb += [
            gemm.issue.eq(issue[Engine.GEMM]),
            alu.issue.eq(issue[Engine.ALU]),
            order.gemm_issue.eq(issue[Engine.GEMM]),
            order.gemm_declared.eq(head.one_bank),
            order.gemm_bank.eq(gemm.bank),
            order.gemm_step.eq(gemm.step),
            order.gemm_last.eq(gemm.last),
            gemm.go.eq(order.gemm_go),
            order.gemm_done.eq(gemm.done),
            order.alu_issue.eq(issue[Engine.ALU]),
            order.alu_declared.eq(head.one_bank),
            order.alu_banks.eq(alu.banks),
            order.alu_step.eq(alu.step),
            alu.go.eq(order.alu_go),
            order.alu_done.eq(alu.done),
            order.load_issue.eq(issue[Engine.ACC]),
            order.load_banks.eq(head.banks),
            order.load_done.eq(loaders["acc"].done),
        ]

    def _elaborate_room(
        self,
        m: Module,
        decode: Decode,
        ready: Signal,
        order: BankOrder,
        gemm: GemmEngine,
        alu: AluEngine,
        loads: Loads,
        held: dict[Engine, Value],
    ) -> Value:
        """Which engines could take the head, micro-ops and accumulator banks considered; ``held`` ones must not.

        Returns whether micro-ops hold it back.
        """
        head = decode.decoded.payload
        claim = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="head_claim"))
        m.d.comb += [claim.first.eq(head.first), claim.beyond.eq(head.beyond), claim.valid.eq(1)]
        readers = [gemm.waiting_claim, gemm.loop_claim, alu.loop_claim]
        reads = Cat(reader.valid for reader in readers).any()
        read = self._held_by(m, decode, claim, readers) & reads
        loading = self._held_by(m, decode, claim, [loads.uop_claim]) & loads.uop_claim.valid
        m.d.comb += [
            gemm.claim.eq(claim),
            alu.claim.eq(claim),
            gemm.insn.eq(head.insn),
            alu.insn.eq(head.insn),
        ]
        rooms: dict[Engine, Value | int] = {
            Engine.GEMM: gemm.room & order.gemm_room & ~loading,
            Engine.ALU: alu.room & ~loading,
            Engine.UOP: loads.room[Engine.UOP] & ~read,
            Engine.ACC: order.load_go & loads.room[Engine.ACC],
            Engine.NONE: 1,
        }
        rooms |= {engine: rooms[engine] & ~waits for engine, waits in held.items()}
        m.d.comb += [ready[engine].eq(room) for engine, room in rooms.items()]
        return Mux(head.engine == Engine.UOP, read, loading & (head.engine != Engine.ACC))

    @staticmethod
    def _held_by(m: Module, decode: Decode, claim: data.View, others: list[data.View]) -> Value:
        """Whether the head's claim may share micro-ops with one of ``others``: yes in the head's first cycle, then
        as it was in the cycle before. No claim is added while the head waits, so late is safe, and the comparison has
        a cycle of its own.
        """
        held = Signal(name="held_by", init=1)
        shared = Cat(overlap(claim, other) for other in others).any()
        m.d.sync += held.eq(~decode.decoded.valid | decode.decoded.ready | shared)
        return held
