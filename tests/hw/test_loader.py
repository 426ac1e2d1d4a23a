"""Loads of every element width on every bus: contents at odd offsets and counts, order, and no idle beat."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from bench import simulate
from read_memory import ReadMemory
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, encode, load
from vta_arch.isa import INSN_BITS, Memory, memory_elem_bytes, sram_depth
from vta_hw.axi import ReadSignature
from vta_hw.decode import compute_memories
from vta_hw.lane_memory import loaded_scratchpad
from vta_hw.loader import Loader
from vta_hw.scratchpad import ReadPort, Scratchpad
from vta_sim.random_configs import named_configs

CASES = [
    ("tiny", Memory.INP),
    ("tiny", Memory.WGT),
    ("tiny", Memory.UOP),
    ("int4", Memory.WGT),
    ("narrow", Memory.INP),
    ("unsigned", Memory.UOP),
]
PADDED_CASES = [*CASES, ("tiny", Memory.ACC), ("acc16", Memory.ACC), ("int2", Memory.ACC_8BIT)]
BASE = 0x1000
LONGEST = 40
"""Elements of the longest row: with 4-byte elements on a 512-bit bus, several beats."""


class Filled(wiring.Component):
    """A loader and the scratchpads that it fills: one in full lanes, or several."""

    def __init__(self, cfg: VTAConfig, *memories: Memory) -> None:
        self.loader = Loader(cfg, *memories, lanes=Loader.full_lanes(cfg, memories[0]) if len(memories) == 1 else 1)
        self.sizes = [(8 * memory_elem_bytes(cfg, memory), sram_depth(cfg, memory)) for memory in memories]
        super().__init__(
            {
                "start": In(1),
                "insn": In(INSN_BITS),
                "bus": Out(ReadSignature(cfg.axi_addr_width, cfg.axi_data_width)),
                **{
                    f"read_{number}": In(ReadPort((depth - 1).bit_length(), bits))
                    for number, (bits, depth) in enumerate(self.sizes)
                },
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.loader = loader = self.loader
        connect(m, loader.bus, flipped(self.bus))
        for number, (target, (bits, depth)) in enumerate(zip(loader.formats, self.sizes, strict=True)):
            if len(self.sizes) == 1:
                memory = loaded_scratchpad(m, loader, bits=bits, depth=depth)
            else:
                chunks = loader.formats[target].chunks
                memory = Scratchpad(bits=bits, depth=depth, granules=chunks)
                select, addr, chunk = loader.chunks_for(target)
                port = memory.write
                m.d.comb += [port.mask.eq(select), port.addr.eq(addr), port.data.eq(chunk.replicate(chunks))]
            m.submodules[f"memory_{number}"] = memory
            connect(m, flipped(getattr(self, f"read_{number}")), memory.read)
        m.d.comb += [loader.start.eq(self.start), loader.insn.eq(self.insn), loader.base.eq(BASE)]
        return m


def expected(cfg: VTAConfig, memory: Memory, insns: list[Insn], contents: bytes) -> tuple[list[int], int]:
    """The scratchpad after the loads, and how many elements went past its end."""
    elem, depth = memory_elem_bytes(cfg, memory), sram_depth(cfg, memory)
    cells, beyond = [0] * depth, 0
    for insn in insns:
        if not insn["x_size"] or not insn["y_size"]:
            continue
        index, padding = insn["sram_base"], _padding(cfg, memory, insn)
        for y in range(-insn["y_pad_0"], insn["y_size"] + insn["y_pad_1"]):
            for x in range(-insn["x_pad_0"], insn["x_size"] + insn["x_pad_1"]):
                value = padding
                if 0 <= y < insn["y_size"] and 0 <= x < insn["x_size"]:
                    at = BASE + (insn["dram_base"] + y * insn["x_stride"] + x) * elem
                    value = int.from_bytes(contents[at : at + elem], "little")
                beyond += index >= depth
                cells[index % depth] = value
                index += 1
    return cells, beyond


def _padding(cfg: VTAConfig, memory: Memory, insn: Insn) -> int:
    """The bits of a padding element."""
    widths = {Memory.INP: cfg.inp_width, Memory.WGT: cfg.wgt_width, Memory.ACC: cfg.acc_width, Memory.ACC_8BIT: 8}
    width = widths.get(memory, 0)
    value = insn.fields.get("pad_value", 0) & ((1 << width) - 1)
    return sum(value << at for at in range(0, 8 * memory_elem_bytes(cfg, memory), width)) if width else 0


def random_loads(cfg: VTAConfig, memory: Memory, rng: random.Random, *, over: bool) -> list[Insn]:
    depth = sram_depth(cfg, memory)
    insns = []
    for _ in range(5):
        rows, columns = rng.randint(1, 3), rng.choice([0, 1, 2, 3, rng.randint(1, LONGEST)])
        pads = {name: rng.choice([0, 0, 1, 2, 15]) for name in ("x_pad_0", "x_pad_1", "y_pad_0")}
        pads["y_pad_1"] = rng.choice([0, 0, 1])
        size = (rows + pads["y_pad_0"] + pads["y_pad_1"]) * (columns + pads["x_pad_0"] + pads["x_pad_1"])
        if size > depth:
            pads, rows = dict.fromkeys(pads, 0), 1
            size = columns
        base = rng.randint(0, depth - 1 if over else max(0, depth - size))
        stride = rng.choice([0, columns, columns + 1, rng.randint(0, 50)])
        shape = {"x_size": columns, "y_size": rows, "x_stride": stride, **pads}
        if "pad_value" in cfg.extensions and rng.randrange(3):
            shape |= {"pad": 1, "pad_value": rng.choice([-128, -1, 5, rng.randint(-128, 127)])}
        insns.append(load(cfg, memory, sram_base=base, dram_base=rng.randint(0, 60), **shape))
    return insns


def run(
    cfg: VTAConfig, memories: tuple[Memory, ...], insns: list[Insn], ram: ReadMemory
) -> tuple[list[list[int]], int, int]:
    """Contents of each scratchpad, ``done`` pulses and cycles of a range error, when all loads have landed."""
    dut = Filled(cfg, *memories)
    waiting = [encode(cfg, insn) for insn in insns]
    counts = {"done": 0, "over": 0}
    found: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        while waiting or ctx.get(dut.loader.busy):
            ctx.set(dut.start, bool(waiting))
            ctx.set(dut.insn, waiting[0] if waiting else 0)
            ram.drive(ctx, dut.bus)
            await ctx.delay(1e-9)
            if waiting and ctx.get(dut.loader.ready):
                waiting.pop(0)
            ram.observe(ctx, dut.bus)
            counts["done"] += ctx.get(dut.loader.done)
            counts["over"] += ctx.get(dut.loader.range_error)
            await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick()
        for number, (_, depth) in enumerate(dut.sizes):
            read, cells = getattr(dut, f"read_{number}"), list[int]()
            for address in range(depth):
                ctx.set(read.en, 1)
                ctx.set(read.addr, address)
                await ctx.tick()
                await ctx.delay(1e-9)
                cells.append(ctx.get(read.data))
            found.append(cells)

    simulate(dut, bench, 40_000)
    return found, counts["done"], counts["over"]


@pytest.mark.parametrize(("name", "memory"), CASES)
def test_contents(name: str, memory: Memory) -> None:
    """Loads follow each other as fast as they are taken; some wrap around the memory's end."""
    cfg = named_configs()[name]
    rng = random.Random(f"{name} {memory}")
    for over in (False, True):
        ram = ReadMemory(rng.randbytes(1 << 16), cfg.axi_data_width // 8, latency=9, stall=0.2, rng=rng)
        insns = random_loads(cfg, memory, rng, over=over)
        cells, beyond = expected(cfg, memory, insns, ram.contents)
        found, done, errors = run(cfg, (memory,), insns, ram)
        assert found == [cells]
        assert done == len(insns)
        assert (errors > 0) == (beyond > 0)


@pytest.mark.parametrize(("name", "memory"), PADDED_CASES)
def test_padding_has_a_value(name: str, memory: Memory) -> None:
    """Extension ``pad_value``: some loads pad with a value, others with zero bits."""
    cfg = replace(named_configs()[name], extensions=frozenset({"pad_value"}))
    rng = random.Random(f"padding {name} {memory}")
    ram = ReadMemory(rng.randbytes(1 << 16), cfg.axi_data_width // 8, latency=3, stall=0.1, rng=rng)
    insns = random_loads(cfg, memory, rng, over=False)
    cells, _ = expected(cfg, memory, insns, ram.contents)
    found, done, _ = run(cfg, (memory,), insns, ram)
    assert found == [cells]
    assert done == len(insns)


@pytest.mark.parametrize(("name", "memory"), CASES)
def test_takes_a_beat_a_cycle(name: str, memory: Memory) -> None:
    """From one load to the next, at odd places: data never wait for the loader."""
    cfg = named_configs()[name]
    rng = random.Random(5)
    ram = ReadMemory(rng.randbytes(1 << 16), cfg.axi_data_width // 8, latency=20, stall=0, rng=rng)
    shape = {"x_size": LONGEST, "y_size": 1, "x_stride": LONGEST}
    insns = [load(cfg, memory, sram_base=n % 3, dram_base=7 * n, **shape) for n in range(3)]
    found, done, _ = run(cfg, (memory,), insns, ram)
    assert found == [expected(cfg, memory, insns, ram.contents)[0]]
    assert done == len(insns)
    assert ram.waited == 0


@pytest.mark.parametrize("name", ["x-tiny", "x-acc16", "narrow"])
def test_several_memories(name: str) -> None:
    """Loads of all kinds in any order; what is beyond the end of one is not beyond that of another."""
    cfg = named_configs()[name]
    rng = random.Random(f"several {name}")
    memories = tuple(memory for memory in compute_memories(cfg) if memory is not Memory.UOP)
    for over in (False, True):
        ram = ReadMemory(rng.randbytes(1 << 16), cfg.axi_data_width // 8, latency=9, stall=0.2, rng=rng)
        mine = {memory: random_loads(cfg, memory, rng, over=over) for memory in memories}
        wanted = {memory: expected(cfg, memory, insns, ram.contents) for memory, insns in mine.items()}
        turns = [memory for memory in memories for _ in mine[memory]]
        rng.shuffle(turns)
        rest = {memory: iter(insns) for memory, insns in mine.items()}
        found, done, errors = run(cfg, memories, [next(rest[memory]) for memory in turns], ram)
        assert found == [wanted[memory][0] for memory in memories]
        assert done == len(turns)
        assert (errors > 0) == any(beyond > 0 for _, beyond in wanted.values())
