"""Counts along one axis of a LOAD: padding, data, padding."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data


class _Part(IntEnum):
    BEFORE = 0
    INSIDE = 1
    AFTER = 2


class Walker:
    """Position along ``axis`` (x or y): which part, and how much of it is left. Part of the loader.

    ``inside`` says that the position holds data, ``left`` how many positions its part still has, this one included.
    A part without positions is skipped. Steps never cross the end of a part.
    """

    def __init__(self, axis: str, width: int) -> None:
        self._axis = axis
        self._part = Signal(_Part, name=f"{axis}_part", reset_less=True)
        self.left = Signal(width, name=f"{axis}_left", reset_less=True)
        self.inside = self._part == _Part.INSIDE

    def start(self, m: Module, insn: data.View) -> None:
        """Goes to the first position."""
        before = insn[f"{self._axis}_pad_0"]
        with m.If(before != 0):
            m.d.sync += [self._part.eq(_Part.BEFORE), self.left.eq(before)]
        with m.Else():
            m.d.sync += [self._part.eq(_Part.INSIDE), self.left.eq(insn[f"{self._axis}_size"])]

    def advance(self, m: Module, insn: data.View, step: Value, room: Value | int) -> None:
        """Moves on at ``step``, by ``room`` or to the end of the part; from the last position back to the first."""
        after = insn[f"{self._axis}_pad_1"]
        with m.If(step):
            with m.If(self.left > room):
                m.d.sync += self.left.eq(self.left - room)
            with m.Elif(self._part == _Part.BEFORE):
                m.d.sync += [self._part.eq(_Part.INSIDE), self.left.eq(insn[f"{self._axis}_size"])]
            with m.Elif((self._part == _Part.INSIDE) & (after != 0)):
                m.d.sync += [self._part.eq(_Part.AFTER), self.left.eq(after)]
            with m.Else():
                self.start(m, insn)

    def ends(self, insn: data.View, room: Value | int) -> Value:
        """Whether there is ``room`` for what is left of this part, and nothing follows on the axis."""
        last_part = Mux(insn[f"{self._axis}_pad_1"] == 0, _Part.INSIDE, _Part.AFTER)
        return (self.left <= room) & (self._part == last_part)
