"""A number that is set and then counts down."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value, ValueCastable, ValueLike


class Countdown:
    """``value`` is what was last set, less the steps since then; 0 after a reset unless ``reset_less``.

    The register holds its complement: a carry chain adds one without any logic, but takes an inverter for each bit
    to subtract one.
    """

    def __init__(self, width: int, name: str, *, reset_less: bool = False) -> None:
        self._complement = Signal(width, name=name, init=(1 << width) - 1, reset_less=reset_less)
        self.value: Value = ~self._complement

    def set(self, m: Module, value: Value | ValueCastable) -> None:
        """It is ``value`` in the next cycle."""
        extended = Value.cast(value) | Const(0, len(self._complement))
        m.d.sync += self._complement.eq(~extended)

    def step(self, m: Module, by: ValueLike = 1) -> None:
        """It is less by ``by`` in the next cycle."""
        m.d.sync += self._complement.eq(self._complement + by)
