"""What the multiplier array did in a cycle, or why it waited."""

from __future__ import annotations

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.registers import COUNTERS


class ActivityPort(wiring.Signature):
    """Of the compute unit, in this cycle; several may be high.

    ``array``: a step goes to the multiplier array; ``step``: to the array or the ALU. ``wait_load``, ``wait_store``: a
    token of that unit, or room for one towards it, is missing. ``uop``, ``acc``, ``alu``: micro-ops or accumulators
    are loaded, the ALU works. ``empty``: there is no instruction.
    """

    NAMES = ("array", "step", "wait_load", "wait_store", "uop", "acc", "alu", "empty")

    def __init__(self) -> None:
        super().__init__({name: Out(1) for name in self.NAMES})


class Activity(wiring.Component):
    """Gives each cycle of a run to one of the counters ARRAY_BUSY and STALL_..., named in ``events`` by their
    position in ``COUNTERS``. ``loads_inp``, ``loads_wgt``, ``stores``: what the other units do."""

    def __init__(self) -> None:
        self._names = [name for name in COUNTERS if name.startswith(("ARRAY_", "STALL_"))]
        super().__init__(
            {
                "running": In(1),
                "compute": In(ActivityPort()),
                "loads_inp": In(1),
                "loads_wgt": In(1),
                "stores": In(1),
                "events": Out(len(self._names)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        compute = self.compute
        causes: list[tuple[Value, str]] = [
            (compute.array, "ARRAY_BUSY"),
            (compute.alu, "STALL_ALU"),
            (compute.wait_load & self.loads_inp, "STALL_INPUT"),
            (compute.wait_load & self.loads_wgt, "STALL_WEIGHT"),
            (compute.wait_store & self.stores, "STALL_STORE"),
            (compute.wait_load | compute.wait_store, "STALL_TOKEN"),
            (compute.uop, "STALL_UOP"),
            (compute.acc, "STALL_ACC"),
            (compute.empty, "STALL_INSN"),
            (Value.cast(1), "STALL_OTHER"),
        ]
        free: Value = self.running
        for cause, name in causes:
            m.d.sync += self.events[self._names.index(name)].eq(free & cause)
            free = free & ~cause
        return m
