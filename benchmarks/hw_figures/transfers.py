"""LOAD and STORE, alone and side by side."""

from __future__ import annotations

from collections.abc import Iterator

from vta_arch.encoding import gemm, load, store
from vta_arch.isa import Memory, memory_elem_bytes, sram_depth

from .bench import LONG, ROW, SHARE, Bench, Figure, repeated

LOADED = (Memory.INP, Memory.WGT, Memory.UOP, Memory.ACC, Memory.ACC_8BIT)


def transfer_figures(bench: Bench) -> Iterator[Figure]:
    """Share of the bus that LOAD and STORE reach."""
    cfg = bench.cfg
    for memory in (*LOADED, Memory.OUT):
        group = "STORE" if memory == Memory.OUT else f"LOAD {memory.name}"
        elem = memory_elem_bytes(cfg, memory)
        count = bench.elements(memory, LONG)
        name, beats = f"{count * elem:,} B contiguous", bench.beats(memory, count)
        empty = store(cfg) if memory == Memory.OUT else load(cfg, memory)
        single = bench.cycles([bench.contiguous(memory)]) - bench.cycles([empty])
        yield Figure(group, f"{name}, alone", beats / single, SHARE, 1, None)
        chained = bench.slope(repeated(bench.contiguous(memory)))
        yield Figure(group, f"{name}, one after the other", beats / chained, SHARE, 1, 0.95)
        short = bench.elements(memory, ROW)
        most = min(64, sram_depth(cfg, memory) // short)
        row = bench.slope(bench.row_stream(memory), max(1, most // 4), most)
        reach = None if memory == Memory.OUT else 0.85
        yield Figure(group, f"rows of {short * elem} B", bench.beats(memory, short) / row, SHARE, 1, reach)


def concurrency_figures(bench: Bench) -> Iterator[Figure]:
    """Transfers side by side."""
    inp = bench.contiguous(Memory.INP)
    inp_beats = bench.beats(Memory.INP, inp["x_size"])
    for memory in (Memory.WGT, Memory.UOP, Memory.ACC):
        # As many beats of both: several loads of the smaller memory.
        other = bench.contiguous(memory)
        beats = inp_beats + bench.beats(memory, other["x_size"])
        both = bench.slope(repeated(inp, other))
        yield Figure("side by side", f"LOAD INP and {memory.name}, all beats", beats / both, SHARE, 1, 0.95)
    yield Figure("side by side", "LOAD UOP among LOAD INP, its part", fair_share(bench), SHARE, 0.5, 0.4)

    out = bench.contiguous(Memory.OUT)
    both = bench.slope(repeated(inp, out))
    reads = bench.slope(repeated(inp))
    writes = bench.slope(repeated(out))
    most = max(inp_beats, bench.beats(Memory.OUT, out["x_size"]))
    yield Figure("side by side", "LOAD INP and STORE, the longer of the two", most / both, SHARE, 1, 0.95)
    yield Figure("side by side", "the same, cycles above the slower alone", both - max(reads, writes), "cycles", 0, 16)


def fair_share(bench: Bench) -> float:
    """Share of the bus that a LOAD UOP gets while LOAD INP would take all of it.

    A GEMM that follows it outlasts the loads, so that the run ends a known time after the LOAD UOP.
    """
    cfg = bench.cfg
    inp, uops = bench.contiguous(Memory.INP), bench.contiguous(Memory.UOP)
    beats = bench.beats(Memory.UOP, uops["x_size"])
    loads = max(4, int(4 * beats / bench.beats(Memory.INP, inp["x_size"])))
    long = gemm(cfg, reset=1, uop_end=1, iter_out=16, iter_in=int(min(4 * loads * LONG / bench.bus_bytes, 1 << 13)))
    return float(beats / (bench.cycles([*[inp] * loads, uops, long]) - bench.cycles([long])))
