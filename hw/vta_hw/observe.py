"""The accelerator with one more port, for a simulation that draws a timeline. Never synthesized."""

from __future__ import annotations

import json
from collections.abc import Mapping

from amaranth.back import verilog
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig

from .top import VTATop
from .verilog import TOP_NAME

WORD_BITS = 64
OBSERVED_BITS = 5 * WORD_BITS
"""Width of the port; what is left over is zero."""
HEADER = "// observed: "
"""Begins the first line of the traced Verilog; JSON follows: ``{"unit.name": [lowest bit, width]}``."""

Observed = dict[str, Value]
"""What a unit shows, by name; set while it is elaborated, and no part of the hardware.

``head``, ``index``, ``engine``, ``issue``: an instruction waits, which one, for which engine; it goes in this cycle.
``lack_<what>``: it lacks a token of that unit, or room, or (``uop``) micro-ops. ``done_<ENGINE>``: the engine's oldest
instruction is complete; engines are numbered in the order of these names. Where an engine has it: ``move_``: it works
in this cycle; ``last_``: the last step of an instruction goes; ``busy_``: an instruction keeps the next one out;
``hold_``: a step must not go because of older instructions of other engines.
"""


class Observer(wiring.Component):
    """Brings what the units of ``top`` show together on one port.

    It must be elaborated after ``top``; ``places`` are the bits of each value from then on. No value crosses a multiple
    of WORD_BITS.
    """

    def __init__(self, top: VTATop) -> None:
        self._top = top
        self.places: dict[str, tuple[int, int]] = {}
        super().__init__({"observed": Out(OBSERVED_BITS)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        offset = 0
        for unit, observed in self._top.core.observed().items():
            for name, value in observed.items():
                bits = Value.cast(value)
                if offset // WORD_BITS != (offset + len(bits) - 1) // WORD_BITS:
                    offset = (offset // WORD_BITS + 1) * WORD_BITS
                assert offset + len(bits) <= OBSERVED_BITS, f"{unit}.{name}: raise OBSERVED_BITS"
                self.places[f"{unit}.{name}"] = (offset, len(bits))
                m.d.comb += self.observed[offset : offset + len(bits)].eq(bits)
                offset += len(bits)
        return m


class TracedTop(wiring.Component):
    """The ports of :class:`VTATop`, and ``observed``, what the units show in this cycle: see :data:`Observed`."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._top = VTATop(cfg)
        self.observer = Observer(self._top)
        super().__init__({**dict(self._top.signature.members), "observed": Out(OBSERVED_BITS)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = self._top
        m.submodules.observer = self.observer
        m.d.comb += self.observed.eq(self.observer.observed)
        for name, member in self._top.signature.members.items():
            inner, outer = getattr(self._top, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


def traced_verilog(cfg: VTAConfig) -> str:
    """Verilog of the accelerator of ``cfg`` with the port ``observed``; its first line says what the port holds."""
    top = TracedTop(cfg)
    text: str = verilog.convert(top, name=TOP_NAME, emit_src=False, strip_internal_attrs=True)
    return f"{HEADER}{json.dumps(top.observer.places)}\n{text}"


def observed_places(text: str) -> Mapping[str, tuple[int, int]]:
    """Lowest bit and width of each value of the port ``observed``, from the Verilog of :func:`traced_verilog`."""
    line = text.split("\n", 1)[0]
    places = json.loads(line.removeprefix(HEADER))
    return {name: (int(offset), int(width)) for name, (offset, width) in places.items()}
