"""Gives tokens in program order, each when its instruction and all older ones are done."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out


class Retire(wiring.Component):
    """Instructions under way, oldest first; each belongs to one of ``engines`` or is done at once.

    ``issue`` adds one (while ``room``) with its ``engine`` and the tokens that it gives. ``done[e]`` pulses
    when engine e has finished its oldest instruction. The oldest instruction leaves when it is done and its
    tokens find room: ``push`` says which it gives, ``finished`` that it was FINISH. Latency one cycle.
    """

    def __init__(self, *, engines: int, depth: int) -> None:
        self._engines, self._depth = engines, depth
        self._layout = data.StructLayout({"engine": range(engines + 1), "push": 2, "finish": 1})
        super().__init__(
            {
                "issue": In(1),
                "engine": In(range(engines + 1)),
                "gives": In(2),
                "is_finish": In(1),
                "room": Out(1),
                "done": In(engines),
                "full": In(2),
                "push": Out(2),
                "finished": Out(1),
                "empty": Out(1),
                "blocked": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.order = order = SyncFIFO(width=self._layout.size, depth=self._depth)
        entry = data.View(self._layout, Signal(self._layout.size, name="entry"))
        head = data.View(self._layout, order.r_data)
        m.d.comb += [
            entry.engine.eq(self.engine),
            entry.push.eq(self.gives),
            entry.finish.eq(self.is_finish),
            order.w_data.eq(entry),
            order.w_en.eq(self.issue),
            self.room.eq(order.w_rdy),
            self.empty.eq(~order.r_rdy),
        ]
        complete = Signal()
        with m.If(head.engine == self._engines):
            m.d.comb += complete.eq(1)
        for number in range(self._engines):
            finished = Signal(range(self._depth + 1), name=f"finished_{number}")
            leaves = order.r_en & order.r_rdy & (head.engine == number)
            m.d.sync += finished.eq(finished + self.done[number] - leaves)
            with m.If(head.engine == number):
                m.d.comb += complete.eq(finished != 0)
        full = (head.push & self.full).any()
        m.d.comb += [
            order.r_en.eq(complete & ~full),
            self.blocked.eq(order.r_rdy & complete & full),
            self.push.eq(Mux(order.r_en & order.r_rdy, head.push, 0)),
            self.finished.eq(order.r_en & order.r_rdy & head.finish),
        ]
        return m
