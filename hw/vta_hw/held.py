"""Units that hold still while there is nothing for them to do."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Signal, Value

CLOCK_ENABLE = "clock_enable"
"""Name of the signal that lets the registers of a unit change: a port of each of its modules in the Verilog."""


def held_unless(m: Module, works: Value) -> EnableInserter:
    """Wraps a component so that all its registers keep their values unless ``works``, or a reset comes.

    Flip-flops have an input for it, so that it takes hardly any logic; the unit takes no power for switching while
    idle, and a simulator need not look at it: see ``vta_sim.clock_gates``.
    """
    enable = Signal(name=CLOCK_ENABLE)
    m.d.comb += enable.eq(works)
    return EnableInserter(enable)
