"""Issues a unit's instructions in order, each when its tokens are there."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .layouts import insn_layout


class TokenPort(wiring.Signature):
    """One neighbour's pair of dependency queues, from the unit's side."""

    def __init__(self) -> None:
        super().__init__({"pop": Out(1), "available": In(1), "push": Out(1), "full": In(1)})


class Issuer(wiring.Component):
    """Takes the head of ``insns``, waits for its tokens, starts it, and pushes its tokens when it is done.

    ``insn`` stays stable from ``start`` (one cycle) to ``done``. ``waiting`` is high while tokens, or
    room for them, are missing. Token bits towards a neighbour that the unit has not are ignored.
    """

    def __init__(self, cfg: VTAConfig, *, prev: bool, next: bool) -> None:
        self._common = insn_layout(cfg, Opcode.FINISH)
        self._has = {"prev": prev, "next": next}
        ports = {name: Out(TokenPort()) for name, present in self._has.items() if present}
        super().__init__(
            {
                "insns": In(stream.Signature(INSN_BITS)),
                **ports,
                "insn": Out(INSN_BITS),
                "start": Out(1),
                "done": In(1),
                "busy": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        insn = data.View(self._common, self.insns.payload)
        m.d.comb += self.insn.eq(self.insns.payload)
        needs, gives = {}, {}
        for name, present in self._has.items():
            if present:
                needs[name] = insn[f"pop_{name}"]
                gives[name] = insn[f"push_{name}"]
        popable, pushable = Signal(), Signal()
        missing = Signal(2)
        blocked = Signal(2)
        for index, name in enumerate(needs):
            port = getattr(self, name)
            m.d.comb += [
                missing[index].eq(needs[name] & ~port.available),
                blocked[index].eq(gives[name] & port.full),
            ]
        m.d.comb += [popable.eq(~missing.any()), pushable.eq(~blocked.any())]
        with m.FSM():
            with m.State("IDLE"), m.If(self.insns.valid):
                m.d.comb += [self.waiting.eq(~popable), self.start.eq(popable)]
                with m.If(popable):
                    m.next = "EXECUTE"
                    for name, need in needs.items():
                        m.d.comb += getattr(self, name).pop.eq(need)
            with m.State("EXECUTE"):
                m.d.comb += self.busy.eq(1)
                with m.If(self.done):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += [self.waiting.eq(~pushable), self.insns.ready.eq(pushable)]
                with m.If(pushable):
                    m.next = "IDLE"
                    for name, give in gives.items():
                        m.d.comb += getattr(self, name).push.eq(give)
        return m
