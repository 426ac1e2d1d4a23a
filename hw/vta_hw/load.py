"""The load unit: fills the input and weight scratchpads, side by side."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import Memory, Opcode

from .axi import ReadSignature
from .blame import BlamedPort, IndexQueue
from .issue import INDEX_BITS, TokenPort, insn_stream
from .landing import LandingOrder
from .lane_memory import loaded_scratchpad
from .layouts import insn_layout, load_rows
from .loader import Loader
from .scratchpad import ReadPort

LOADED = {"inp": Memory.INP, "wgt": Memory.WGT}
UNDER_WAY = 8
"""Instructions issued and not yet retired."""


class LoadUnit(wiring.Component):
    """Executes LOAD INP and LOAD WGT; holds both scratchpads.

    Instructions are issued in order, each when its token is there and its loader takes it: loads of the two
    memories run side by side, and the requests of one run ahead of the data of those before it. Tokens are
    given in order, each when its own load and all older ones have landed. ``idle``: all issued are retired.
    ``blamed`` are the instructions to blame: for the unit's own errors, for a read ``outside`` the DMA window (a bit
    for each loader), for a run that is ``stuck`` or whose watchdog has ``expired``. ``loads``: which loaders are busy.
    ``clear`` forgets tokens that wait to be given; nothing may be executing then.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        bus = ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)
        super().__init__(
            {
                "clear": In(1),
                "insns": In(insn_stream()),
                "next": Out(TokenPort()),
                "inp_base": In(cfg.axi_addr_width),
                "wgt_base": In(cfg.axi_addr_width),
                "inp_bus": Out(bus),
                "wgt_bus": Out(bus),
                "inp": In(ReadPort(cfg.log_inp_depth, cfg.inp_elem_bits)),
                "wgt": In(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "idle": Out(1),
                "busy": Out(1),
                "waiting": Out(1),
                "stuck": In(1),
                "expired": In(1),
                "outside": In(len(LOADED)),
                "loads": Out(len(LOADED)),
                "blamed": Out(BlamedPort()).array(len(LOADED) + 1),
                "range_error": Out(1),
                "bus_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.order = order = ResetInserter(self.clear)(LandingOrder(engines=len(LOADED), depth=UNDER_WAY))
        insn = data.View(insn_layout(self._cfg, Opcode.LOAD), self.insns.payload.insn)
        nothing = (insn.x_size == 0) | (load_rows(self._cfg, insn) == 0)
        issue, tokens_there, target_ready = Signal(), Signal(), Signal()
        loaders: list[Loader] = []
        for name, memory in LOADED.items():
            loader = Loader(self._cfg, memory, lanes=Loader.full_lanes(self._cfg, memory))
            m.submodules[f"{name}_loader"] = loader
            self._elaborate_blame(m, name, len(loaders), loader)
            loaders.append(loader)
            port = getattr(self, name)
            block = loaded_scratchpad(m, loader, bits=len(port.data), depth=1 << len(port.addr))
            m.submodules[f"{name}_memory"] = block
            connect(m, flipped(port), block.read)
            connect(m, loader.bus, flipped(getattr(self, f"{name}_bus")))
            m.d.comb += [
                loader.start.eq(issue & ~nothing & (insn.memory_type == memory)),
                loader.insn.eq(self.insns.payload.insn),
                loader.base.eq(getattr(self, f"{name}_base")),
            ]
            with m.If(insn.memory_type == memory):
                m.d.comb += [target_ready.eq(loader.ready), order.engine.eq(len(loaders) - 1)]
        with m.If(nothing):
            m.d.comb += [target_ready.eq(1), order.engine.eq(len(loaders))]
        self._elaborate_tokens(m, order, insn, issue, tokens_there)
        m.d.comb += [
            issue.eq(self.insns.valid & tokens_there & target_ready & order.room),
            self.insns.ready.eq(issue),
            order.done.eq(Cat(loader.done for loader in loaders)),
            self.idle.eq(order.empty),
            self.blamed[-1].index.eq(self.insns.payload.index),
            self.blamed[-1].fault.eq((self.stuck | self.expired) & self.insns.valid & ~tokens_there),
            self.busy.eq((~order.empty & ~order.blocked) | Cat(loader.busy for loader in loaders).any()),
            self.waiting.eq((self.insns.valid & ~tokens_there) | order.blocked),
            self.range_error.eq(Cat(loader.range_error for loader in loaders).any()),
            self.bus_error.eq(Cat(loader.bus_error for loader in loaders).any()),
        ]
        return m

    def _elaborate_blame(self, m: Module, name: str, number: int, loader: Loader) -> None:
        """Errors of data speak of the oldest LOAD of a loader, refused requests of the one that it took last."""
        m.submodules[f"{name}_indices"] = indices = IndexQueue(UNDER_WAY)
        asking, bus_error = Signal(INDEX_BITS, reset_less=True), Signal()
        with m.If(loader.start):
            m.d.sync += asking.eq(self.insns.payload.index)
        blamed, outside = self.blamed[number], self.outside[number]
        m.d.sync += bus_error.eq(loader.bus_error)  # `done` of the LOAD before comes this late, too
        m.d.comb += [
            indices.push.eq(loader.start),
            indices.index.eq(self.insns.payload.index),
            indices.pop.eq(loader.done),
            self.loads[number].eq(loader.busy),
            blamed.index.eq(Mux(outside, asking, indices.head)),
            blamed.fault.eq(loader.range_error | bus_error | outside | (self.expired & indices.any)),
        ]

    def _elaborate_tokens(
        self, m: Module, order: LandingOrder, insn: data.View, issue: Signal, tokens_there: Signal
    ) -> None:
        """Pops at issue, in order; pushes at retirement, in order."""
        m.d.comb += [
            tokens_there.eq(~insn.pop_next | self.next.available),
            self.next.pop.eq(issue & insn.pop_next),
            order.issue.eq(issue),
            order.gives.eq(insn.push_next),
            order.full.eq(self.next.full),
            self.next.push.eq(order.push),
        ]
