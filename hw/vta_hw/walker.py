"""Counts along one axis of a LOAD: padding, data, padding."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from .countdown import Countdown


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
        self._left = Countdown(width, f"{axis}_left", reset_less=True)
        self.left = self._left.value
        self.inside = self._part == _Part.INSIDE

    def start(self, m: Module, insn: data.View) -> None:
        """Goes to the first position."""
        before = insn[f"{self._axis}_pad_0"]
        with m.If(before != 0):
            self._begin(m, _Part.BEFORE, before)
        with m.Else():
            self._begin(m, _Part.INSIDE, insn[f"{self._axis}_size"])

    def advance(self, m: Module, insn: data.View, step: Value, room: Value | int) -> None:
        """Moves on at ``step``, by ``room`` or to the end of the part; from the last position back to the first."""
        after = insn[f"{self._axis}_pad_1"]
        with m.If(step):
            with m.If(self.left > room):
                self._left.step(m, room)
            with m.Elif(self._part == _Part.BEFORE):
                self._begin(m, _Part.INSIDE, insn[f"{self._axis}_size"])
            with m.Elif((self._part == _Part.INSIDE) & (after != 0)):
                self._begin(m, _Part.AFTER, after)
            with m.Else():
                self.start(m, insn)

    def _begin(self, m: Module, part: _Part, positions: Value) -> None:
        m.d.sync += self._part.eq(part)
        self._left.set(m, positions)

    def ends(self, insn: data.View, room: Value | int) -> Value:
        """Whether there is ``room`` for what is left of this part, and nothing follows on the axis."""
        last_part = Mux(insn[f"{self._axis}_pad_1"] == 0, _Part.INSIDE, _Part.AFTER)
        return (self.left <= room) & (self._part == last_part)
