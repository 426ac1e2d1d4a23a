"""Choices among four that take one LUT of six inputs a bit, also where neighbouring bits choose among the same.

A bit of a shifter chooses among four bits of the word before it, and shares half of them with the neighbour one step
away. A mapper that finds the common half, which depends on one bit of the select, makes three LUTs for two bits. So
neighbours take turns between two selects that hold the same number.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value

Twins = tuple[Signal, Signal]
"""Two registers with the same contents."""


def twin_registers(width: int, name: str) -> Twins:
    """Registers that are to be given the same values. Only one has a reset: so tools keep both."""
    return Signal(width, name=name, reset_less=True), Signal(width, name=f"{name}_twin")


def twins_of(m: Module, value: Value, name: str) -> Twins:
    """``value`` a cycle later."""
    registers = twin_registers(len(value), name)
    m.d.sync += [register.eq(value) for register in registers]
    return registers


def chosen_in_turns(choices: Sequence[Value], select: Sequence[Value], unit: int) -> Value:
    """The one of four ``choices``, equally long, that the twins ``select`` name. The low bit of the select comes from
    the other twin every two ``unit`` bits, the high one every ``unit`` bits."""
    low, high = (_in_turns(choices[n + 1], choices[n], [twin[0] for twin in select], 2 * unit) for n in (0, 2))
    return _in_turns(high, low, [twin[1] for twin in select], unit)


def rotated(value: Value, select: Sequence[Value], unit: int) -> Value:
    """``value`` rotated to the right by as many units of ``unit`` bits as the twins ``select`` say, at least two bits
    each: by less than four units first, then stage by stage."""
    result = chosen_in_turns([value.rotate_right(n * unit) for n in range(4)], [number[:2] for number in select], unit)
    for stage in range(2, len(select[0])):
        result = Mux(select[0][stage], result.rotate_right(unit << stage), result)
    return result


def _in_turns(one: Value, zero: Value, bits: Sequence[Value], unit: int) -> Value:
    """``one`` where the bit is set, else ``zero``; of the twin ``bits``, each counts for ``unit`` bits in turns.

    A word with a select for each bit, and no constant to mask with: so the Verilog has few operations on whole words,
    where tools would write those with a constant bit by bit, which simulates slowly.
    """
    width = len(one)
    second = sum(1 << bit for bit in range(width) if bit // unit % 2)
    turns = (((1 << width) - 1) ^ second, second)
    first, other = (Mux(bit, Const(own, width), Const(0, width)) for bit, own in zip(bits, turns, strict=True))
    select = first | other
    return (one & select) | (zero & ~select)
