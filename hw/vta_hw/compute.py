"""The compute unit: GEMM, ALU, and the loads of micro-ops and accumulators, side by side."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import UOP_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode

from .activity import ActivityPort
from .axi import ReadSignature
from .blame import Blame, BlamedPort
from .decode import ENGINES, Decode, Engine
from .engines import AluEngine, GemmEngine, claim_layout, overlap
from .hazards import LOADS, BankOrder
from .issue import TokenPort, insn_stream
from .lane_memory import loaded_scratchpad
from .layouts import insn_layout
from .loader import Loader
from .retire import Retire
from .scratchpad import AccScratchpad, ReadPort

LOADED = {"uop": Memory.UOP, "acc": Memory.ACC, "acc8": Memory.ACC_8BIT}
UNDER_WAY = 4
"""Tokens for each neighbour that wait for their instructions; less than half of the sequence numbers."""


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
        bus = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "clear": In(1),
                "insns": In(insn_stream()),
                "prev": Out(TokenPort()),
                "next": Out(TokenPort()),
                "uop_base": In(cfg.axi_addr_width),
                "acc_base": In(cfg.axi_addr_width),
                **{f"{name}_bus": Out(bus) for name in LOADED},
                "inp": Out(ReadPort(cfg.log_inp_depth, cfg.inp_elem_bits)),
                "wgt": Out(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "store": In(ReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "store_ready": Out(1),
                "finished": Out(1),
                "busy": Out(1),
                "waiting": Out(1),
                "activity": Out(ActivityPort()),
                "stuck": In(1),
                "expired": In(1),
                "outside": In(len(LOADED)),
                "blamed": Out(BlamedPort()).array(ENGINES + 1),
                **{f"{error}_error": Out(1) for error in ("range", "opcode", "memory", "bank", "bus")},
            }
        )

    def buses(self) -> list[wiring.PureInterface]:
        """The read buses of its loaders."""
        return [getattr(self, f"{name}_bus") for name in LOADED]

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
        loaders, uop_claim, load_room = self._elaborate_loaders(m, head, issue)
        self._elaborate_order(m, order, head, issue, gemm, alu, loaders)
        self._elaborate_room(m, head, ready, order, gemm, alu, uop_claim, load_room)
        self._elaborate_uops(m, [gemm, alu], loaders["uop"])
        self._elaborate_accumulators(m, gemm, alu, loaders)
        self._elaborate_status(m, decode, retire, issue, order, gemm, alu, loaders)

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
        missing = Cat(wanted & ~port.available for port, wanted in pops.items()).any()
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

    def _elaborate_status(
        self,
        m: Module,
        decode: Decode,
        retire: Retire,
        issue: Signal,
        order: BankOrder,
        gemm: GemmEngine,
        alu: AluEngine,
        loaders: dict[str, Loader],
    ) -> None:
        """What the engines do in this cycle, and whom to blame."""
        m.submodules.blame = blame = ResetInserter(self.clear)(Blame())
        head = decode.decoded.payload
        common = data.View(insn_layout(self._cfg, Opcode.FINISH), head.insn)
        wants = [common.pop_prev & ~self.prev.available, common.pop_next & ~self.next.available]
        waits = [
            (decode.decoded.valid & want) | (retire.blocked & port.full)
            for want, port in zip(wants, (self.prev, self.next), strict=True)
        ]
        held_up = decode.decoded.valid & Cat(wants).any()
        faults: dict[Engine, Value] = {
            Engine.GEMM: gemm.range_error | order.bank_error[0],
            Engine.ALU: alu.range_error | order.bank_error[1],
        }
        for engine, names in {Engine.UOP: ("uop",), Engine.ACC: ("acc", "acc8")}.items():
            bus_error = Signal(name=f"{names[0]}_bus_error")
            # `done` of the LOAD before comes this late, too.
            m.d.sync += bus_error.eq(Cat(loaders[name].bus_error for name in names).any())
            faults[engine] = Cat(bus_error, *(loaders[name].range_error for name in names)).any()
            outside = Cat(self.outside[list(LOADED).index(name)] for name in names).any()
            m.d.comb += blame.outside[engine].eq(outside)
        m.d.comb += [
            blame.issue.eq(issue),
            blame.index.eq(head.index),
            blame.gemm_last.eq(gemm.last),
            blame.done.eq(retire.done),
            blame.fault.eq(Cat(faults[engine] for engine in sorted(faults))),
            blame.head_fault.eq(self.opcode_error | self.memory_error | ((self.stuck | self.expired) & held_up)),
            blame.expired.eq(self.expired),
            Cat(self.activity.wait_load, self.activity.wait_store).eq(Cat(waits)),
            self.activity.array.eq(gemm.step),
            self.activity.step.eq(gemm.step | alu.step),
            self.activity.alu.eq(blame.busy[Engine.ALU]),
            self.activity.uop.eq(blame.busy[Engine.UOP]),
            self.activity.acc.eq(blame.busy[Engine.ACC]),
            self.activity.empty.eq(~decode.decoded.valid & ~retire.active),
        ]
        for inner, outer in zip(blame.blamed, self.blamed, strict=True):
            m.d.comb += [outer.fault.eq(inner.fault), outer.index.eq(inner.index)]

    def _elaborate_loaders(
        self, m: Module, head: data.View, issue: Signal
    ) -> tuple[dict[str, Loader], data.View, Value]:
        """A load may wait behind another of its memory type, so that its requests run ahead.

        Returns the loaders, the micro-ops being written, and whether the head's loader takes it.
        """
        loaders, takes = {}, []
        for name, memory in LOADED.items():
            engine = Engine.UOP if memory == Memory.UOP else Engine.ACC
            lanes = Loader.full_lanes(self._cfg, memory) if memory == Memory.UOP else 1
            loaders[name] = loader = Loader(self._cfg, memory, lanes=lanes)
            m.submodules[f"{name}_loader"] = loader
            connect(m, loader.bus, flipped(getattr(self, f"{name}_bus")))
            mem = data.View(insn_layout(self._cfg, Opcode.LOAD), head.insn)
            held = Signal(INSN_BITS, name=f"{name}_insn", reset_less=True)
            m.d.sync += loader.start.eq(issue[engine] & (mem.memory_type == memory))
            m.d.comb += [loader.insn.eq(held), loader.base.eq(self.uop_base if name == "uop" else self.acc_base)]
            with m.If(issue[engine]):
                m.d.sync += held.eq(head.insn)
            takes.append((mem.memory_type == memory) & loader.ready & ~loader.start)
        # Loads of accumulators by two loaders would land in any order: one type at a time.
        other = Cat(
            (mem.memory_type != LOADED[name]) & (loaders[name].busy | loaders[name].start) for name in ("acc", "acc8")
        ).any()
        room = Cat(*takes).any() & ((mem.memory_type == Memory.UOP) | ~other)
        return loaders, self._elaborate_claim(m, head, issue[Engine.UOP], loaders["uop"]), room

    def _elaborate_claim(self, m: Module, head: data.View, issue: Value, loader: Loader) -> data.View:
        """The micro-ops that loads under way write, and what lies between them."""
        claim = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="uop_claim"))
        loads = Signal(range(LOADS + 1))
        last_done = loader.done & (loads == 1)
        widen = claim.valid & ~last_done
        m.d.sync += loads.eq(loads + issue - loader.done)
        with m.If(issue):
            m.d.sync += [
                claim.first.eq(Mux(widen & (claim.first < head.first), claim.first, head.first)),
                claim.beyond.eq(Mux(widen & (claim.beyond > head.beyond), claim.beyond, head.beyond)),
                claim.valid.eq(1),
            ]
        with m.Elif(last_done):
            m.d.sync += claim.valid.eq(0)
        self._uop_room = loads != LOADS
        return claim

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
            order.load_done.eq(loaders["acc"].done | loaders["acc8"].done),
        ]

    def _elaborate_room(
        self,
        m: Module,
        head: data.View,
        ready: Signal,
        order: BankOrder,
        gemm: GemmEngine,
        alu: AluEngine,
        uop_claim: data.View,
        load_room: Value,
    ) -> None:
        """Which engines could take the head, micro-ops and accumulator banks considered."""
        claim = data.View(claim_layout(self._cfg), Signal(claim_layout(self._cfg).size, name="head_claim"))
        m.d.comb += [claim.first.eq(head.first), claim.beyond.eq(head.beyond), claim.valid.eq(1)]
        readers = [gemm.waiting_claim, gemm.loop_claim, alu.loop_claim]
        read = Cat(overlap(claim, reader) for reader in readers).any()
        loading = overlap(claim, uop_claim)
        m.d.comb += [
            gemm.claim.eq(claim),
            alu.claim.eq(claim),
            gemm.insn.eq(head.insn),
            alu.insn.eq(head.insn),
        ]
        rooms: dict[Engine, Value | int] = {
            Engine.GEMM: gemm.room & order.gemm_room & ~loading,
            Engine.ALU: alu.room & ~loading,
            Engine.UOP: self._uop_room & load_room & ~read,
            Engine.ACC: order.load_go & load_room,
            Engine.NONE: 1,
        }
        m.d.comb += [ready[engine].eq(room) for engine, room in rooms.items()]

    def _elaborate_uops(self, m: Module, engines: list[GemmEngine | AluEngine], loader: Loader) -> None:
        """A copy of the micro-op memory for each engine that reads it."""
        for number, engine in enumerate(engines):
            memory = loaded_scratchpad(m, loader, bits=UOP_BITS, depth=self._cfg.uop_depth)
            m.submodules[f"uop_memory{number}"] = memory
            connect(m, engine.uop, memory.read)
            m.d.comb += [
                memory.write.mask.eq(loader.write.select),
                memory.write.addr.eq(loader.write.addr),
                memory.write.data.eq(loader.write.data),
            ]

    def _elaborate_accumulators(self, m: Module, gemm: GemmEngine, alu: AluEngine, loaders: dict[str, Loader]) -> None:
        """Both banks, shared by the engines and the store unit."""
        cfg = self._cfg
        wide, narrow = loaders["acc"], loaders["acc8"]
        granules = wide.chunks
        readers = [gemm.acc, alu.dst, alu.src]
        values = [narrow.write.data.word_select(lane, 8).as_signed() for lane in range(narrow.chunk_bytes)]
        extended = Cat(_extend(value, cfg.acc_width) for value in values)
        copies = granules // narrow.chunks
        writers = [
            (gemm.write.mask.replicate(granules), gemm.write.addr, gemm.write.data),
            (alu.write.mask.replicate(granules), alu.write.addr, alu.write.data),
            (wide.write.select, wide.write.addr, wide.write.data.replicate(wide.chunks)),
            (
                Cat(bit.replicate(copies) for bit in narrow.write.select),
                narrow.write.addr,
                extended.replicate(narrow.chunks),
            ),
        ]
        m.submodules.accumulators = acc = AccScratchpad(
            bits=cfg.acc_elem_bits,
            depth=cfg.acc_depth,
            granules=granules,
            readers=len(readers),
            writers=len(writers),
        )
        connect(m, flipped(self.store), acc.store)
        m.d.comb += self.store_ready.eq(acc.store_ready)
        for reader, port in zip(readers, acc.read, strict=True):
            connect(m, reader, port)
        for (mask, addr, value), port in zip(writers, acc.write, strict=True):
            m.d.comb += [port.mask.eq(mask), port.addr.eq(addr), port.data.eq(value)]


def _extend(value: Value, width: int) -> Value:
    """A signed value as exactly ``width`` bits."""
    return Cat(value, value[-1].replicate(width - len(value)))
