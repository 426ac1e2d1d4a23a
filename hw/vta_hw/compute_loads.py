"""The loads of the compute unit: a loader for each memory that it holds, and the micro-ops that they claim."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import connect, flipped
from vta_arch.config import VTAConfig
from vta_arch.isa import INSN_BITS, Memory, Opcode

from .decode import Engine
from .engines import claim_layout
from .hazards import LOADS
from .layouts import insn_layout
from .loader import Loader


def loaded(cfg: VTAConfig) -> dict[str, Memory]:
    """The unit's loaders, and the memory that each fills."""
    base = {"uop": Memory.UOP, "acc": Memory.ACC, "acc8": Memory.ACC_8BIT}
    return base | ({"req": Memory.REQ} if "requant" in cfg.extensions else {})


def by_engine(loaders: dict[str, Loader]) -> dict[Engine, list[Loader]]:
    """The loaders that make up an engine: accumulators and parameters are loaded by one."""
    return {Engine.UOP: [loaders["uop"]], Engine.ACC: [loader for name, loader in loaders.items() if name != "uop"]}


@dataclass(frozen=True)
class Loads:
    """The loaders by name, and what holds instructions back on their account."""

    loaders: dict[str, Loader]
    uop_claim: data.View
    """Micro-ops that loads under way write, and what lies between them."""
    uop_room: Value
    """Whether one more load of micro-ops can be counted."""
    room: Value
    """Whether the loader of the head's memory takes it."""


def add_loads(m: Module, unit: wiring.Component, cfg: VTAConfig, head: data.View, issue: Signal) -> Loads:
    """Loaders between the unit's buses and its memories; ``issue`` has a bit for each engine.

    A load may wait behind another of its memory type, so that its requests run ahead.
    """
    mem = data.View(insn_layout(cfg, Opcode.LOAD), head.insn)
    loaders, takes = {}, []
    for name, memory in loaded(cfg).items():
        engine = Engine.UOP if memory == Memory.UOP else Engine.ACC
        lanes = Loader.full_lanes(cfg, memory) if memory == Memory.UOP else 1
        loaders[name] = loader = Loader(cfg, memory, lanes=lanes)
        m.submodules[f"{name}_loader"] = loader
        connect(m, loader.bus, flipped(getattr(unit, f"{name}_bus")))
        held = Signal(INSN_BITS, name=f"{name}_insn", reset_less=True)
        m.d.sync += loader.start.eq(issue[engine] & (mem.memory_type == memory))
        m.d.comb += [loader.insn.eq(held), loader.base.eq(unit.uop_base if name == "uop" else unit.acc_base)]
        with m.If(issue[engine]):
            m.d.sync += held.eq(head.insn)
        takes.append((mem.memory_type == memory) & loader.ready & ~loader.start)
    # Loads of accumulators by two loaders would land in any order: one type at a time.
    other = Cat(
        (mem.memory_type != loaded(cfg)[name]) & (loader.busy | loader.start)
        for name, loader in loaders.items()
        if name != "uop"
    ).any()
    room = Cat(*takes).any() & ((mem.memory_type == Memory.UOP) | ~other)
    claim, uop_room = _add_claim(m, cfg, head, issue[Engine.UOP], loaders["uop"])
    return Loads(loaders, claim, uop_room, room)


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
