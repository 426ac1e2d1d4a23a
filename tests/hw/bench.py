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


def halves_swapped(words: int, width: int, lanes: int) -> int:
    """Words side by side, each of two halves of 16 bits, which change places; words of 16 bits have but one."""
    if width == 16:
        return words
    low = sum(0xFFFF << (lane * width) for lane in range(lanes))
    return (words & low) << 16 | (words >> 16) & low
