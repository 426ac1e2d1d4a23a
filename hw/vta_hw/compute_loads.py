"""The loads of the compute unit: a loader for each memory that it holds, and the micro-ops that they claim."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory

from .decode import Engine, compute_memories
from .engines import claim_layout
from .hazards import LOADS
from .loader import Loader

LOADED_BY = {"uop": Engine.UOP, "acc": Engine.ACC}
"""The unit's loaders, and the engine that each is."""


def loaded(cfg: VTAConfig) -> dict[str, tuple[Memory, ...]]:
    """The unit's loaders, and the memories that each fills."""
    others = tuple(memory for memory in compute_memories(cfg) if memory is not Memory.UOP)
    return {"uop": (Memory.UOP,), "acc": others}


def by_engine(loaders: dict[str, Loader]) -> dict[Engine, Loader]:
    """The loaders by the engines that they are."""
    return {LOADED_BY[name]: loader for name, loader in loaders.items()}


@dataclass(frozen=True)
class Loads:
    """The loaders by name, and what holds instructions back on their account."""

    loaders: dict[str, Loader]
    uop_claim: data.View
    """Micro-ops that loads under way write, and what lies between them."""
    room: dict[Engine, Value]
    """Whether a loader takes one more LOAD."""


def add_loads(m: Module, unit: wiring.Component, cfg: VTAConfig, head: data.View, issue: Signal) -> Loads:
    """Loaders between the unit's buses and its memories; ``issue`` has a bit for each engine.

    A load may wait behind another of its loader, so that its requests run ahead.
    """
    loaders: dict[str, Loader] = {}
    room: dict[Engine, Value] = {}
    for name, memories in loaded(cfg).items():
        engine = LOADED_BY[name]
        lanes = Loader.full_lanes(cfg, Memory.UOP) if engine == Engine.UOP else 1
        loaders[name] = loader = Loader(cfg, *memories, lanes=lanes, extended=(Memory.ACC_8BIT,))
        m.submodules[f"{name}_loader"] = loader
        connect(m, loader.bus, flipped(getattr(unit, f"{name}_bus")))
        held = Signal(INSN_BITS, name=f"{name}_insn", reset_less=True)
        m.d.sync += loader.start.eq(issue[engine])
        m.d.comb += [loader.insn.eq(held), loader.base.eq(unit.uop_base if name == "uop" else unit.acc_base)]
        with m.If(issue[engine]):
            m.d.sync += held.eq(head.insn)
        room[engine] = loader.ready & ~loader.start
    claim, uop_room = _add_claim(m, cfg, head, issue[Engine.UOP], loaders["uop"])
    room[Engine.UOP] &= uop_room
    return Loads(loaders, claim, room)


def _add_claim(m: Module, cfg: VTAConfig, head: data.View, issue: Value, loader: Loader) -> tuple[data.View, Value]:
    """What loads of micro-ops under way write, and whether there may be one more of them."""
    claim = data.View(claim_layout(cfg), Signal(claim_layout(cfg).size, name="uop_claim"))
    loads = Signal(range(LOADS + 1))
    last_done = loader.done & (loads == 1)
    widen = claim.valid & ~last_done
    m.d.sync += loads.eq(loads + issue - loader.done)
    with m.If(issue):
        m.d.sync += [
            claim.first.eq(Mux(widen & (claim.first < head.first), claim.first, head.first)),
            claim.beyond.eq(Mux(widen & (claim.beyond > head.beyond), claim.beyond, head.beyond)),
            claim.valid.eq(1),
        ]
    with m.Elif(last_done):
        m.d.sync += claim.valid.eq(0)
    return claim, loads != LOADS
