"""Gives tokens in program order, each when what it stands for is done."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

NEIGHBOURS = 2
"""Previous and next unit."""
SEQUENCE_BITS = 4
"""Instructions of an engine are numbered modulo 16; far fewer are ever under way."""


class Retire(wiring.Component):
    """Knows what is under way, and when a token may be given.

    ``issue`` (while ``room``) adds an instruction: its ``engine`` (``engines`` if it has none), the tokens it
    ``gives`` to the previous and next unit, and whether it is FINISH. ``done[e]`` pulses when engine e has
    finished its oldest instruction. A token waits until its instruction is done and, unless that is
    ``one_bank``, all older ones; the tokens to one neighbour are given in program order. ``finished`` comes
    when FINISH and all before it are done.
    """

    def __init__(self, *, engines: int, depth: int) -> None:
        self._engines, self._depth = engines, depth
        super().__init__(
            {
                "issue": In(1),
                "engine": In(range(engines + 1)),
                "gives": In(NEIGHBOURS),
                "one_bank": In(1),
                "is_finish": In(1),
                "room": Out(1),
                "done": In(engines),
                "full": In(NEIGHBOURS),
                "push": Out(NEIGHBOURS),
                "finished": Out(1),
                "active": Out(1),
                "blocked": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        layout = data.ArrayLayout(SEQUENCE_BITS, self._engines)
        need = data.View(layout, Signal(layout.size, name="need"))
        completed = []
        under_way = []
        for number in range(self._engines):
            issued, done = (Signal(SEQUENCE_BITS, name=f"{n}_{number}") for n in ("issued", "completed"))
            own = self.engine == number
            following = (issued + own)[:SEQUENCE_BITS]
            with m.If(self.issue):
                m.d.sync += issued.eq(following)
            m.d.sync += done.eq(done + self.done[number])
            m.d.comb += need[number].eq(Mux(own | ~self.one_bank, following, done))
            completed.append(done)
            under_way.append(issued != done)
        m.d.comb += self.active.eq(Cat(*under_way).any())

        rooms, empties, blocked = [], [], []
        for neighbour in range(NEIGHBOURS):
            tokens = SyncFIFOBuffered(width=layout.size, depth=self._depth)
            m.submodules[f"tokens{neighbour}"] = tokens
            head = data.View(layout, tokens.r_data)
            # Sequence numbers are compared modulo 16: behind by less than half means reached.
            late = Cat((completed[e] - head[e])[:SEQUENCE_BITS][-1] for e in range(self._engines)).any()
            m.d.comb += [
                tokens.w_data.eq(need),
                tokens.w_en.eq(self.issue & self.gives[neighbour]),
                tokens.r_en.eq(~late & ~self.full[neighbour]),
                self.push[neighbour].eq(tokens.r_rdy & tokens.r_en),
            ]
            rooms.append(tokens.w_rdy)
            empties.append(tokens.level == 0)
            blocked.append(tokens.r_rdy & ~late & self.full[neighbour])
        finishing = Signal()
        m.d.comb += [
            self.room.eq(Cat(*rooms).all()),
            self.blocked.eq(Cat(*blocked).any()),
            self.finished.eq(finishing & ~self.active & Cat(*empties).all()),
        ]
        with m.If(self.issue & self.is_finish):
            m.d.sync += finishing.eq(1)
        with m.Elif(self.finished):
            m.d.sync += finishing.eq(0)
        return m
