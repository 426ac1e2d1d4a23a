"""Gives a unit's tokens in program order, each when its transfer and all older ones are complete."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out


class LandingOrder(wiring.Component):
    """Instructions under way, oldest first; each belongs to one of ``engines`` or, numbered ``engines``, to none.

    ``issue`` adds one (while ``room``): its ``engine``, and whether it ``gives`` a token. ``done[e]`` pulses when
    engine e has completed its oldest instruction. The oldest instruction leaves when it is complete and its token
    finds room, at most one a cycle: ``push`` gives the token. ``blocked``: it waits for room only.
    ``empty``: none is under way. Latency from ``done`` to ``push`` one cycle.
    """

    def __init__(self, *, engines: int, depth: int) -> None:
        self._engines, self._depth = engines, depth
        self._layout = data.StructLayout({"engine": range(engines + 1), "push": 1})
        super().__init__(
            {
                "issue": In(1),
                "engine": In(range(engines + 1)),
                "gives": In(1),
                "room": Out(1),
                "done": In(engines),
                "full": In(1),
                "push": Out(1),
                "blocked": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.order = order = SyncFIFO(width=self._layout.size, depth=self._depth)
        entry = data.View(self._layout, Signal(self._layout.size, name="entry"))
        head = data.View(self._layout, order.r_data)
        complete, waits = Signal(), Signal()
        m.d.comb += [
            entry.engine.eq(self.engine),
            entry.push.eq(self.gives),
            order.w_data.eq(entry),
            order.w_en.eq(self.issue),
            self.room.eq(order.w_rdy),
            self.empty.eq(~order.r_rdy),
            waits.eq(head.push & self.full),
            order.r_en.eq(order.r_rdy & complete & ~waits),
            self.push.eq(order.r_en & head.push),
            self.blocked.eq(order.r_rdy & complete & waits),
        ]
        with m.If(head.engine == self._engines):
            m.d.comb += complete.eq(1)
        for number in range(self._engines):
            landed = Signal(range(self._depth + 1), name=f"landed_{number}")
            own = head.engine == number
            m.d.sync += landed.eq(landed + self.done[number] - (order.r_en & own))
            with m.If(own):
                m.d.comb += complete.eq(landed != 0)
        return m
