"""Gives tokens in program order, each when what it stands for is done."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

NEIGHBOURS = 2
"""Previous and next unit."""
COUNT_BITS = 2
"""An engine has at most three instructions under way."""


class WaitingTokens(wiring.Component):
    """Tokens for one neighbour, oldest first; each counts the instructions that it waits for, engine by engine.

    ``add`` (while ``room``) appends a token that waits for ``counts[e]`` instructions of engine e, without those that
    are ``done`` in that cycle; later ones count down. The oldest leaves as ``push`` when it waits for none, unless the
    neighbour is ``full``: then it is ``blocked``. From the last ``done``, or from ``add``, to ``push`` one cycle.
    """

    def __init__(self, *, engines: int, depth: int) -> None:
        self._engines, self._depth = engines, depth
        super().__init__(
            {
                "add": In(1),
                "counts": In(COUNT_BITS).array(engines),
                "done": In(engines),
                "full": In(1),
                "room": Out(1),
                "push": Out(1),
                "blocked": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        places = range(self._depth)
        valid = Signal(self._depth)
        held = [
            [Signal(COUNT_BITS, name=f"count{place}_{e}", reset_less=True) for e in range(self._engines)]
            for place in places
        ]
        # What each place holds after this cycle's instructions; behind the last one nothing.
        left: list[list[Value]] = [
            [count - (self.done[e] & count.any()) for e, count in enumerate(counts)] for counts in held
        ]
        left.append(list(self.counts))
        complete = ~Cat(*held[0]).any()
        m.d.comb += [
            self.room.eq(~valid[-1]),
            self.empty.eq(~valid[0]),
            self.push.eq(valid[0] & complete & ~self.full),
            self.blocked.eq(valid[0] & complete & self.full),
        ]
        for place in places:
            keeps, follows = valid[place], valid[place + 1] if place + 1 < self._depth else 0
            filled = Mux(self.push, follows, keeps)
            # The first place that is free, or becomes it, takes the new token.
            before = 1 if place == 0 else Mux(self.push, keeps, valid[place - 1])
            m.d.sync += valid[place].eq(filled | (self.add & before))
            for e in range(self._engines):
                moved = Mux(self.push, left[place + 1][e], left[place][e])
                m.d.sync += held[place][e].eq(Mux(filled, moved, self.counts[e]))
        return m


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
        queues = [WaitingTokens(engines=self._engines, depth=self._depth) for _ in range(NEIGHBOURS)]
        under_way = []
        for number in range(self._engines):
            count = Signal(COUNT_BITS, name=f"under_way_{number}")
            own = self.engine == number
            left = (count - self.done[number])[:COUNT_BITS]
            m.d.sync += count.eq(left + (self.issue & own))
            for queue in queues:
                m.d.comb += queue.counts[number].eq(Mux(own, left + 1, Mux(self.one_bank, 0, left)))
            under_way.append(count.any())
        m.d.comb += self.active.eq(Cat(*under_way).any())
        for neighbour, queue in enumerate(queues):
            m.submodules[f"tokens{neighbour}"] = queue
            m.d.comb += [
                queue.add.eq(self.issue & self.gives[neighbour]),
                queue.done.eq(self.done),
                queue.full.eq(self.full[neighbour]),
                self.push[neighbour].eq(queue.push),
            ]
        finishing = Signal()
        m.d.comb += [
            self.room.eq(Cat(queue.room for queue in queues).all()),
            self.blocked.eq(Cat(queue.blocked for queue in queues).any()),
            self.finished.eq(finishing & ~self.active & Cat(queue.empty for queue in queues).all()),
        ]
        with m.If(self.issue & self.is_finish):
            m.d.sync += finishing.eq(1)
        with m.Elif(self.finished):
            m.d.sync += finishing.eq(0)
        return m
