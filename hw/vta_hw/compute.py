"""The compute unit: GEMM, ALU, and the loads of micro-ops and accumulators."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, AluOp, Memory, Opcode

from .alu import Alu
from .axi import ReadSignature
from .gemm import Gemm
from .issue import Issuer, TokenPort
from .layouts import insn_layout
from .loader import Loader
from .loop import MicroOpLoop
from .scratchpad import AccScratchpad, ReadPort, Scratchpad

LOADED = {"uop": Memory.UOP, "acc": Memory.ACC, "acc8": Memory.ACC_8BIT}


class ComputeUnit(wiring.Component):
    """Executes its instructions one at a time, in order; holds micro-ops and accumulators.
    ``clear`` forgets an instruction that waits; nothing may be executing then.

    ``finished`` is high for one cycle when FINISH is executed.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        bus = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "clear": In(1),
                "insns": In(stream.Signature(INSN_BITS)),
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
                "range_error": Out(1),
                "opcode_error": Out(1),
                "memory_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.issuer = issuer = ResetInserter(self.clear)(Issuer(self._cfg, prev=True, next=True))
        connect(m, flipped(self.insns), issuer.insns)
        connect(m, issuer.prev, flipped(self.prev))
        connect(m, issuer.next, flipped(self.next))
        mem = data.View(insn_layout(self._cfg, Opcode.LOAD), issuer.insn)
        alu_insn = data.View(insn_layout(self._cfg, Opcode.ALU), issuer.insn)

        loaders = self._elaborate_loaders(m, issuer, mem)
        bad_alu = Signal()
        m.d.comb += bad_alu.eq((mem.opcode == Opcode.ALU) & (alu_insn.alu_opcode > max(AluOp)))
        start = issuer.start & ~bad_alu
        loop, gemm, alu = self._elaborate_loop(m, issuer.insn, start, mem.opcode, loaders["uop"])
        self._elaborate_accumulators(m, gemm, alu, loaders)

        unknown_memory = ~Cat(mem.memory_type == memory for memory in LOADED.values()).any()
        loaded = Cat(loader.done for loader in loaders.values()).any()
        computing = loop.busy | gemm.busy | alu.busy
        with m.Switch(mem.opcode):
            with m.Case(Opcode.LOAD):
                m.d.comb += issuer.done.eq(issuer.busy & (loaded | unknown_memory))
                m.d.comb += self.memory_error.eq(issuer.start & unknown_memory)
            with m.Case(Opcode.FINISH):
                m.d.comb += [issuer.done.eq(issuer.busy), self.finished.eq(issuer.busy)]
            with m.Default():
                m.d.comb += issuer.done.eq(issuer.busy & ~computing)
        ranges = [gemm.range_error, alu.range_error, *(loader.range_error for loader in loaders.values())]
        m.d.comb += [
            self.busy.eq(issuer.busy),
            self.waiting.eq(issuer.waiting),
            self.opcode_error.eq(issuer.start & bad_alu),
            self.range_error.eq(Cat(*ranges).any()),
            self.bus_error.eq(Cat(loader.bus_error for loader in loaders.values()).any()),
        ]
        return m

    def buses(self) -> list[wiring.PureInterface]:
        """The read buses of its loaders."""
        return [getattr(self, f"{name}_bus") for name in LOADED]

    def _elaborate_loaders(self, m: Module, issuer: Issuer, insn: data.View) -> dict[str, Loader]:
        loaders = {}
        for name, memory in LOADED.items():
            loaders[name] = loader = Loader(self._cfg, memory)
            m.submodules[f"{name}_loader"] = loader
            connect(m, loader.bus, flipped(getattr(self, f"{name}_bus")))
            m.d.comb += [
                loader.start.eq(issuer.start & (insn.opcode == Opcode.LOAD) & (insn.memory_type == memory)),
                loader.insn.eq(issuer.insn),
                loader.base.eq(self.uop_base if memory == Memory.UOP else self.acc_base),
            ]
        return loaders

    def _elaborate_loop(
        self, m: Module, insn: Value, start: Value, opcode: Value, uop_loader: Loader
    ) -> tuple[MicroOpLoop, Gemm, Alu]:
        """The micro-op memory, the loop over it, and its steps to GEMM or ALU."""
        cfg = self._cfg
        m.submodules.uop_memory = uops = Scratchpad(bits=32, depth=cfg.uop_depth, granules=uop_loader.chunks)
        m.submodules.loop = loop = MicroOpLoop(cfg)
        m.submodules.gemm = gemm = Gemm(cfg)
        m.submodules.alu = alu = Alu(cfg)
        connect(m, loop.uop, uops.read)
        connect(m, gemm.inp, flipped(self.inp))
        connect(m, gemm.wgt, flipped(self.wgt))
        is_alu = Signal()
        m.d.comb += [
            is_alu.eq(opcode == Opcode.ALU),
            uops.write.mask.eq(uop_loader.write.select),
            uops.write.addr.eq(uop_loader.write.addr),
            uops.write.data.eq(uop_loader.write.data),
            loop.start.eq(start & (is_alu | (opcode == Opcode.GEMM))),
            loop.insn.eq(insn),
            loop.steps.ready.eq(Mux(is_alu, alu.steps.ready, gemm.steps.ready)),
        ]
        for unit, chosen in ((gemm, ~is_alu), (alu, is_alu)):
            m.d.comb += [
                unit.insn.eq(insn),
                unit.steps.payload.eq(loop.steps.payload),
                unit.steps.valid.eq(loop.steps.valid & chosen),
            ]
        return loop, gemm, alu

    def _elaborate_accumulators(self, m: Module, gemm: Gemm, alu: Alu, loaders: dict[str, Loader]) -> None:
        """One read and one write port, shared by those that never run at the same time."""
        cfg = self._cfg
        wide, narrow = loaders["acc"], loaders["acc8"]
        granules = wide.chunks
        m.submodules.accumulators = acc = AccScratchpad(bits=cfg.acc_elem_bits, depth=cfg.acc_depth, granules=granules)
        connect(m, flipped(self.store), acc.store)
        m.d.comb += [
            self.store_ready.eq(acc.store_ready),
            acc.read.en.eq(gemm.acc.en | alu.acc.en),
            acc.read.addr.eq(Mux(alu.acc.en, alu.acc.addr, gemm.acc.addr)),
            gemm.acc.data.eq(acc.read.data),
            alu.acc.data.eq(acc.read.data),
        ]
        narrow_chunk = [narrow.write.data.word_select(lane, 8).as_signed() for lane in range(narrow.chunk_bytes)]
        extended = Cat(_extend(value, cfg.acc_width) for value in narrow_chunk)
        writers = [
            (gemm.write.mask.replicate(granules), gemm.write.addr, gemm.write.data),
            (alu.write.mask.replicate(granules), alu.write.addr, alu.write.data),
            (wide.write.select, wide.write.addr, wide.write.data.replicate(wide.chunks)),
            (
                Cat(bit.replicate(granules // narrow.chunks) for bit in narrow.write.select),
                narrow.write.addr,
                extended.replicate(narrow.chunks),
            ),
        ]
        for mask, addr, value in writers:
            with m.If(mask.any()):
                m.d.comb += [acc.write.mask.eq(mask), acc.write.addr.eq(addr), acc.write.data.eq(value)]


def _extend(value: Value, width: int) -> Value:
    """A signed value as exactly ``width`` bits."""
    return Cat(value, value[-1].replicate(width - len(value)))
