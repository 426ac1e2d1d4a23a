"""Remembers which instruction an engine works on, to name it in an error."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .decode import ENGINES, Engine
from .issue import INDEX_BITS

UNDER_WAY = 2
"""Instructions of any other engine: one behind another."""
GEMMS = 4
"""GEMM instructions with steps to come: one waits, one is in the loop, the loop's last stages hold more."""


class BlamedPort(wiring.Signature):
    """``fault``: the instruction ``index`` is to blame for an error."""

    def __init__(self) -> None:
        super().__init__({"fault": Out(1), "index": Out(INDEX_BITS)})


class Blame(wiring.Component):
    """``issue`` (a bit for each engine) gives the instruction ``index`` to its engine, ``done`` takes it away.

    ``fault`` has a bit for each engine; a GEMM's comes in the cycle after the step that it speaks of, and ``gemm_last``
    with its last step. A read ``outside`` the DMA window speaks of the engine's newest instruction: requests run ahead;
    every other fault speaks of the oldest. ``head_fault`` speaks of ``index`` itself. ``expired`` blames all that is
    under way, which ``busy`` shows.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "issue": In(len(Engine)),
                "index": In(INDEX_BITS),
                "gemm_last": In(1),
                "done": In(ENGINES),
                "fault": In(ENGINES),
                "outside": In(ENGINES),
                "head_fault": In(1),
                "expired": In(1),
                "busy": Out(ENGINES),
                "blamed": Out(BlamedPort()).array(ENGINES + 1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.gemms = gemms = SyncFIFO(width=INDEX_BITS, depth=GEMMS)
        ended = Signal()
        m.d.sync += ended.eq(self.gemm_last)
        m.d.comb += [
            gemms.w_data.eq(self.index),
            gemms.w_en.eq(self.issue[Engine.GEMM]),
            gemms.r_en.eq(ended),
            self.busy[Engine.GEMM].eq(gemms.r_rdy),
            self.blamed[Engine.GEMM].index.eq(gemms.r_data),
        ]
        for engine in (Engine.ALU, Engine.UOP, Engine.ACC):
            m.submodules[f"{engine.name.lower()}s"] = indices = IndexQueue(UNDER_WAY)
            newest = Signal(INDEX_BITS, name=f"newest_{engine.name}", reset_less=True)
            with m.If(self.issue[engine]):
                m.d.sync += newest.eq(self.index)
            m.d.comb += [
                indices.push.eq(self.issue[engine]),
                indices.index.eq(self.index),
                indices.pop.eq(self.done[engine]),
                self.blamed[engine].index.eq(Mux(self.outside[engine], newest, indices.head)),
                self.busy[engine].eq(indices.any),
            ]
        for number in range(ENGINES):
            fault = self.fault[number] | self.outside[number] | (self.expired & self.busy[number])
            m.d.comb += self.blamed[number].fault.eq(fault)
        m.d.comb += [self.blamed[ENGINES].index.eq(self.index), self.blamed[ENGINES].fault.eq(self.head_fault)]
        return m


class IndexQueue(wiring.Component):
    """Indices of the instructions of an engine that takes them and completes them in order.

    ``push`` adds ``index``, ``pop`` takes away the oldest, which is ``head`` while ``any``.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        super().__init__({"push": In(1), "index": In(INDEX_BITS), "pop": In(1), "head": Out(INDEX_BITS), "any": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.indices = indices = SyncFIFO(width=INDEX_BITS, depth=self._depth)
        m.d.comb += [
            indices.w_data.eq(self.index),
            indices.w_en.eq(self.push),
            indices.r_en.eq(self.pop),
            self.head.eq(indices.r_data),
            self.any.eq(indices.r_rdy),
        ]
        return m
