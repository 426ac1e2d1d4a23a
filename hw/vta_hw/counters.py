"""Counts events of a run: many counters for the price of one adder and a small memory."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from vta_arch.registers import COUNTER_BITS


class EventCounters(wiring.Component):
    """``count`` counters of COUNTER_BITS bits, each of the cycles in which its bit of ``events`` is high.

    Events gather in a few bits for each counter; every ``count`` cycles they are added to the counter, which lives in
    a distributed memory. So a counter is exact ``count`` + 1 cycles after its last event. ``start`` sets all to 0; it
    must not come within ``count`` cycles of another. ``value`` is the counter ``select``, in the same cycle.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__(
            {
                "start": In(1),
                "events": In(count),
                "select": In(range(count)),
                "value": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=COUNTER_BITS, depth=self._count, init=[])
        total, shown, write = memory.read_port(domain="comb"), memory.read_port(domain="comb"), memory.write_port()
        slot, fresh = Signal(range(self._count)), Signal(range(self._count + 1))
        gathered = Signal(range(self._count + 1))
        due_slot, due = Signal.like(slot), Signal.like(gathered)
        before = Signal(COUNTER_BITS, reset_less=True)
        m.d.comb += [
            total.addr.eq(slot),
            shown.addr.eq(self.select),
            self.value.eq(shown.data),
            write.addr.eq(due_slot),
            write.data.eq(before + due),
            write.en.eq(1),
        ]
        # Reading and adding take a cycle each.
        m.d.sync += [due_slot.eq(slot), due.eq(gathered), before.eq(Mux(fresh != 0, 0, total.data))]
        m.d.sync += slot.eq(Mux(slot == self._count - 1, 0, slot + 1))
        with m.If(self.start):
            m.d.sync += fresh.eq(self._count)
        with m.Elif(fresh != 0):
            m.d.sync += fresh.eq(fresh - 1)
        for number in range(self._count):
            waiting = Signal(range(self._count + 1), name=f"waiting_{number}")
            with m.If(slot == number):
                m.d.comb += gathered.eq(waiting)
            visited = self.start | (slot == number)
            m.d.sync += waiting.eq(Mux(visited, 0, waiting) + self.events[number])
        return m
