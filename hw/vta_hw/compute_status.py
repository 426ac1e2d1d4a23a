"""What the compute unit tells of itself: the instructions to blame, its activity, and what a timeline shows."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from vta_arch.config import VTAConfig
from vta_arch.isa import Opcode

from .blame import Blame
from .compute_loads import by_engine
from .decode import ENGINES, Decode, Engine
from .engines import AluEngine, GemmEngine
from .hazards import BankOrder
from .layouts import insn_layout
from .loader import Loader
from .retire import Retire


@dataclass(frozen=True)
class Watched:
    """The parts of the unit whose state is told, and two facts about the head instruction."""

    decode: Decode
    retire: Retire
    order: BankOrder
    gemm: GemmEngine
    alu: AluEngine
    loaders: dict[str, Loader]
    lacks: tuple[Value, Value]
    """Whether the head waits for a token of the load unit, and for one of the store unit."""
    uop_hazard: Value
    """Whether micro-ops hold the head back."""


def lacking(unit: wiring.Component, cfg: VTAConfig, head: data.View) -> tuple[Value, Value]:
    """Whether the head needs a token of the load unit that is not there, and one of the store unit."""
    common = data.View(insn_layout(cfg, Opcode.FINISH), head.insn)
    return common.pop_prev & ~unit.prev.available, common.pop_next & ~unit.next.available


def add_status(m: Module, unit: wiring.Component, parts: Watched, issue: Signal) -> None:
    """What the engines do in this cycle, and whom to blame; ``issue`` has a bit for each engine."""
    m.submodules.blame = blame = ResetInserter(unit.clear)(Blame())
    decode, retire, gemm, alu = parts.decode, parts.retire, parts.gemm, parts.alu
    waits = [
        (decode.decoded.valid & lack) | (retire.blocked & port.full)
        for lack, port in zip(parts.lacks, (unit.prev, unit.next), strict=True)
    ]
    held_up = decode.decoded.valid & Cat(parts.lacks).any()
    faults = _faults(m, unit, parts, blame)
    m.d.comb += [
        blame.issue.eq(issue),
        blame.index.eq(decode.decoded.payload.index),
        blame.gemm_last.eq(gemm.last),
        blame.done.eq(retire.done),
        blame.fault.eq(Cat(faults[engine] for engine in sorted(faults))),
        blame.head_fault.eq(unit.opcode_error | unit.memory_error | ((unit.stuck | unit.expired) & held_up)),
        blame.expired.eq(unit.expired),
        Cat(unit.activity.wait_load, unit.activity.wait_store).eq(Cat(waits)),
        unit.activity.array.eq(gemm.step),
        unit.activity.step.eq(gemm.step | alu.step),
        unit.activity.alu.eq(blame.busy[Engine.ALU]),
        unit.activity.uop.eq(blame.busy[Engine.UOP]),
        unit.activity.acc.eq(blame.busy[Engine.ACC]),
        unit.activity.empty.eq(~decode.decoded.valid & ~retire.active),
    ]
    for inner, outer in zip(blame.blamed, unit.blamed, strict=True):
        m.d.comb += [outer.fault.eq(inner.fault), outer.index.eq(inner.index)]


def _faults(m: Module, unit: wiring.Component, parts: Watched, blame: Blame) -> dict[Engine, Value]:
    """The errors of each engine; a read outside the DMA window goes to ``blame`` at once."""
    faults: dict[Engine, Value] = {
        Engine.GEMM: parts.gemm.range_error | parts.order.bank_error[0],
        Engine.ALU: parts.alu.range_error | parts.order.bank_error[1],
    }
    buses = list(parts.loaders.values())
    for engine, loader in by_engine(parts.loaders).items():
        bus_error = Signal(name=f"{engine.name.lower()}_bus_error")
        # `done` of the LOAD before comes this late, too.
        m.d.sync += bus_error.eq(loader.bus_error)
        faults[engine] = bus_error | loader.range_error
        m.d.comb += blame.outside[engine].eq(unit.outside[buses.index(loader)])
    return faults


def observed(parts: Watched) -> dict[str, Value]:
    """What a timeline shows."""
    decode, retire, gemm, alu = parts.decode, parts.retire, parts.gemm, parts.alu
    lack_load, lack_store = parts.lacks
    values: dict[str, Value] = {
        "head": decode.decoded.valid,
        "index": decode.decoded.payload.index,
        "engine": decode.decoded.payload.engine,
        "issue": decode.decoded.ready,
        "lack_load": lack_load,
        "lack_store": lack_store,
        "lack_room": ~retire.room,
        "lack_uop": parts.uop_hazard,
        "move_GEMM": gemm.step,
        "last_GEMM": gemm.last,
        "hold_GEMM": ~gemm.go,
        "move_ALU": alu.step,
        "hold_ALU": ~alu.go,
    }
    loads = by_engine(parts.loaders)
    for number in range(ENGINES):
        engine = Engine(number)
        name = f"LOAD {engine.name}" if engine in loads else engine.name
        values[f"done_{name}"] = retire.done[engine]
        if engine in loads:
            values[f"move_{name}"] = loads[engine].write.select.any()
    return values
