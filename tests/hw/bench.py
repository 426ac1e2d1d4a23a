"""A clocked simulation of one component, bounded in cycles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.lib.wiring import Component
from amaranth.sim import Simulator


def simulate(dut: Component, bench: Callable[[Any], Any], cycles: int = 5000) -> None:
    """Runs the testbench; fails if it is not through after ``cycles`` clock cycles."""
    done = False

    async def bounded(ctx: Any) -> None:
        nonlocal done
        await bench(ctx)
        done = True

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bounded)
    sim.run_until(cycles * 1e-6)
    assert done, f"the testbench was not through after {cycles} cycles"
