"""Sums of many values, with a register every few levels."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value


def tree_latency(levels: int, levels_per_stage: int) -> int:
    """Cycles from the values of a tree to their sum."""
    return -(-levels // levels_per_stage)


def adder_tree(m: Module, values: list[Value], levels: int, levels_per_stage: int, name: str) -> Value:
    """The exact sum of at most 2^levels values, :func:`tree_latency` cycles later."""
    for level in range(1, levels + 1):
        pairs = [left + right for left, right in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs) :]
        if level % levels_per_stage == 0 or level == levels:
            stage: list[Value] = []
            for index, value in enumerate(values):
                register = Signal(value.shape(), name=f"{name}_{level}_{index}", reset_less=True)
                m.d.sync += register.eq(value)
                stage.append(register)
            values = stage
    (total,) = values
    return total
