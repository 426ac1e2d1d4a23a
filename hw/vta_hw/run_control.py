"""Begins and ends runs: the normal end, deadlock, watchdog, fatal errors and the soft reset."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.registers import DEADLOCK_CYCLES

from .countdown import Countdown


class RunControl(wiring.Component):
    """A run lasts from ``start`` to ``done``, a pulse; ``running`` is high after the first and until the second.

    It is done when it has ``ended``; or, ``stuck``, when nothing was ``active`` for DEADLOCK_CYCLES; or after a
    ``fatal`` error, when the bus has been drained. ``reset`` ends it without ``done``. ``draining`` is high from a
    fatal error or a reset until the bus is idle; a bus that answers nothing keeps it so for ever. ``expired`` pulses
    after ``watchdog`` cycles without ``progress``, which is fatal; a second time, while draining, the run is done
    although the bus is not. ``clear`` resets all units: whenever a run is done, and while draining.
    """

    def __init__(self) -> None:
        inputs = ("start", "reset", "ended", "active", "progress", "fatal", "bus_idle")
        outputs = ("running", "draining", "clear", "done", "stuck", "expired")
        super().__init__({**{name: In(1) for name in inputs}, "watchdog": In(32), **{name: Out(1) for name in outputs}})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        quiet = Signal(range(DEADLOCK_CYCLES + 1))
        left = Countdown(32, "left")
        m.d.comb += [
            self.stuck.eq(self.running & ~self.draining & (quiet == DEADLOCK_CYCLES)),
            self.expired.eq(self.running & (self.watchdog != 0) & (left.value == 0)),
            self.clear.eq(self.done | self.draining),
        ]
        with m.If(self.draining):
            m.d.comb += self.done.eq(self.running & (self.bus_idle | self.expired))
        with m.Else():
            m.d.comb += self.done.eq(self.running & (self.ended | self.stuck))

        with m.If(~self.running | self.active | ~self.bus_idle):
            m.d.sync += quiet.eq(0)
        with m.Elif(~self.stuck):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(~self.running | self.progress | self.expired):
            left.set(m, self.watchdog)
        with m.Elif(left.value != 0):
            left.step(m)

        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.Elif(self.done | self.reset):
            m.d.sync += self.running.eq(0)
        with m.If(self.reset | (self.running & ~self.done & (self.fatal | self.expired))):
            m.d.sync += self.draining.eq(1)
        with m.Elif(self.bus_idle):
            m.d.sync += self.draining.eq(0)
        return m
