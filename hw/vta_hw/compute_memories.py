"""What the compute unit holds: accumulators, micro-ops and the requantizer's parameters, wired to who uses them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import connect, flipped
from vta_arch.config import UOP_BITS, VTAConfig
from vta_arch.isa import AluOp, Memory, Opcode

from .decode import Engine
from .engines import AluEngine, GemmEngine
from .lane_memory import loaded_scratchpad
from .layouts import insn_layout
from .loader import Loader
from .requantizer import Requantizer
from .scratchpad import AccScratchpad


def add_uops(m: Module, cfg: VTAConfig, engines: list[GemmEngine | AluEngine], loader: Loader) -> None:
    """A copy of the micro-op memory for each engine that reads it."""
    for number, engine in enumerate(engines):
        memory = loaded_scratchpad(m, loader, bits=UOP_BITS, depth=cfg.uop_depth)
        m.submodules[f"uop_memory{number}"] = memory
        connect(m, engine.uop, memory.read)


def add_accumulators(
    m: Module, unit: wiring.Component, cfg: VTAConfig, gemm: GemmEngine, alu: AluEngine, loader: Loader
) -> None:
    """Both banks, shared by the engines, the loaders and, through the unit's port, the store unit."""
    loads = [loader.chunks_for(memory) for memory in (Memory.ACC, Memory.ACC_8BIT)]
    readers = [gemm.acc, alu.dst, alu.src]
    engines = [gemm.write, alu.write, *([alu.requant_write] if "requant" in cfg.extensions else [])]
    granules = max(len(select) for select, _, _ in loads + [(port.mask, 0, 0) for port in engines])
    # Chunks of both memories lie in the loader's word as often as they fit.
    bits = max(len(chunk) for _, _, chunk in loads)
    word = loader.write.data[:bits].replicate(cfg.acc_elem_bits // bits)
    selects = [_spread(select, granules) for select, _, _ in loads]
    writers = [
        *((_spread(port.mask, granules), port.addr, port.data) for port in engines),
        (selects[0] | selects[1], loads[0][1], word),
    ]
    m.submodules.accumulators = acc = AccScratchpad(
        bits=cfg.acc_elem_bits,
        depth=cfg.acc_depth,
        granules=granules,
        readers=len(readers),
        writers=len(writers),
        parts=max(len(port.mask) for port in engines),
    )
    connect(m, flipped(unit.store), acc.store)
    m.d.comb += unit.store_ready.eq(acc.store_ready)
    for reader, port in zip(readers, acc.read, strict=True):
        connect(m, reader, port)
    for (mask, addr, value), port in zip(writers, acc.write, strict=True):
        m.d.comb += [port.mask.eq(mask), port.addr.eq(addr), port.data.eq(value)]


def add_requantizer(
    m: Module, unit: wiring.Component, cfg: VTAConfig, head: data.View, alu: AluEngine, loader: Loader
) -> dict[Engine, Value]:
    """The requantizer (extension ``requant``), shared with the store unit.

    Returns why engines must not take the head: a load of parameters and an ALU operation that uses them wait for
    each other.
    """
    m.submodules.requantizer = requantizer = Requantizer(cfg, chunk_bytes=loader.formats[Memory.REQ].chunk_bytes)
    port = requantizer.write
    m.d.comb += Cat(port.select, port.addr, port.data).eq(Cat(*loader.chunks_for(Memory.REQ)))
    connect(m, flipped(unit.store_requant), requantizer.clients[0])
    connect(m, alu.requant, requantizer.clients[1])
    m.d.comb += Cat(requantizer.banks).eq(Cat(alu.dst.banks))
    mem, operation = (data.View(insn_layout(cfg, code), head.insn) for code in (Opcode.LOAD, Opcode.ALU))
    loading = loader.busy[list(loader.formats).index(Memory.REQ)]
    starting = loader.start & (data.View(insn_layout(cfg, Opcode.LOAD), loader.insn).memory_type == Memory.REQ)
    return {
        Engine.ALU: (operation.alu_opcode == AluOp.REQ) & (loading | starting),
        Engine.ACC: (mem.memory_type == Memory.REQ) & ~alu.room & alu.requantizes,
    }


def _spread(mask: Value, granules: int) -> Value:
    """A mask of fewer granules as one of ``granules``."""
    return Cat(bit.replicate(granules // len(mask)) for bit in mask)
