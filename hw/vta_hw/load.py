"""The load unit: fills the input and weight scratchpads."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode

from .axi import ReadSignature
from .issue import Issuer, TokenPort
from .layouts import insn_layout
from .loader import Loader
from .scratchpad import ReadPort, Scratchpad


class LoadUnit(wiring.Component):
    """Executes LOAD INP and LOAD WGT, one at a time; holds both scratchpads."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        bus = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "clear": In(1),
                "insns": In(stream.Signature(INSN_BITS)),
                "next": Out(TokenPort()),
                "inp_base": In(cfg.axi_addr_width),
                "wgt_base": In(cfg.axi_addr_width),
                "inp_bus": Out(bus),
                "wgt_bus": Out(bus),
                "inp": In(ReadPort(cfg.log_inp_depth, cfg.inp_elem_bits)),
                "wgt": In(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "busy": Out(1),
                "waiting": Out(1),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.issuer = issuer = ResetInserter(self.clear)(Issuer(self._cfg, prev=False, next=True))
        connect(m, flipped(self.insns), issuer.insns)
        connect(m, issuer.next, flipped(self.next))
        insn = data.View(insn_layout(self._cfg, Opcode.LOAD), issuer.insn)
        loaders = []
        for name, memory in (("inp", Memory.INP), ("wgt", Memory.WGT)):
            loader = Loader(self._cfg, memory)
            m.submodules[f"{name}_loader"] = loader
            loaders.append(loader)
            port = getattr(self, name)
            m.submodules[f"{name}_memory"] = memory_block = Scratchpad(
                bits=len(port.data), depth=1 << len(port.addr), granules=loader.chunks
            )
            connect(m, flipped(port), memory_block.read)
            connect(m, loader.bus, flipped(getattr(self, f"{name}_bus")))
            m.d.comb += [
                loader.start.eq(issuer.start & (insn.memory_type == memory)),
                loader.insn.eq(issuer.insn),
                loader.base.eq(getattr(self, f"{name}_base")),
                memory_block.write.mask.eq(loader.write.select),
                memory_block.write.addr.eq(loader.write.addr),
                memory_block.write.data.eq(loader.write.data.replicate(loader.chunks)),
            ]
        m.d.comb += [
            issuer.done.eq(Cat(loader.done for loader in loaders).any()),
            self.busy.eq(issuer.busy),
            self.waiting.eq(issuer.waiting),
            self.range_error.eq(Cat(loader.range_error for loader in loaders).any()),
            self.bus_error.eq(Cat(loader.bus_error for loader in loaders).any()),
        ]
        return m
