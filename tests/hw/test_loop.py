"""The micro-op loop against three nested Python loops."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect
from bench import simulate
from vta_arch.config import VTAConfig
from vta_arch.encoding import alu, encode, encode_uops, gemm
from vta_arch.isa import AluOp, Opcode
from vta_arch.presets import load_preset
from vta_hw.loop import MicroOpLoop
from vta_hw.scratchpad import Scratchpad, WritePort

CONFIGS = ["tiny", "pynq-z1", "int4"]


class LoopWithMemory(Component):
    """The loop and a micro-op memory that the test fills."""

    def __init__(self, cfg: VTAConfig, opcode: Opcode) -> None:
        self.loop = MicroOpLoop(cfg, opcode)
        self.memory = Scratchpad(bits=32, depth=cfg.uop_depth, granules=1)
        super().__init__({"write": In(WritePort(cfg.log_uop_depth, 32, 1)), "unused": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.loop = self.loop
        m.submodules.memory = self.memory
        connect(m, self.loop.uop, self.memory.read)
        m.d.comb += [
            self.memory.write.mask.eq(self.write.mask),
            self.memory.write.addr.eq(self.write.addr),
            self.memory.write.data.eq(self.write.data),
        ]
        return m


def expected_steps(insn: dict[str, int], uops: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return [
        (
            dst + outer * insn["dst_factor_out"] + inner * insn["dst_factor_in"],
            src + outer * insn["src_factor_out"] + inner * insn["src_factor_in"],
            wgt + outer * insn.get("wgt_factor_out", 0) + inner * insn.get("wgt_factor_in", 0),
        )
        for outer in range(insn["iter_out"])
        for inner in range(insn["iter_in"])
        for dst, src, wgt in uops[insn["uop_bgn"] : insn["uop_end"]]
    ]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("is_alu", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_indices_in_order(name: str, is_alu: bool, stall: float) -> None:
    cfg = load_preset(name)
    dut = LoopWithMemory(cfg, Opcode.ALU if is_alu else Opcode.GEMM)
    rng = random.Random(7)
    uops = [
        (rng.randrange(cfg.acc_depth), rng.randrange(cfg.acc_depth), rng.randrange(cfg.wgt_depth)) for _ in range(9)
    ]
    words = encode_uops(cfg, uops)
    cases = []
    for iter_out, iter_in, bgn, end in [
        (1, 1, 0, 1),
        (3, 4, 2, 9),
        (5, 1, 8, 9),
        (0, 3, 0, 2),
        (2, 0, 0, 2),
        (2, 2, 5, 5),
    ]:
        factors = {f"{kind}_factor_{loop}": rng.randrange(8) for kind in ("dst", "src") for loop in ("out", "in")}
        loops = {"iter_out": iter_out, "iter_in": iter_in, "uop_bgn": bgn, "uop_end": end, **factors}
        cases.append(alu(cfg, AluOp.ADD, **loops) if is_alu else gemm(cfg, wgt_factor_in=3, **loops))

    async def bench(ctx: object) -> None:
        for addr, word in enumerate(words):
            ctx.set(dut.write.mask, 1)
            ctx.set(dut.write.addr, addr)
            ctx.set(dut.write.data, int(word))
            await ctx.tick()
        ctx.set(dut.write.mask, 0)
        loop = dut.loop
        for insn in cases:
            ctx.set(loop.insn, encode(cfg, insn))
            ctx.set(loop.start, 1)
            await ctx.tick()
            ctx.set(loop.start, 0)
            wanted = expected_steps(insn.fields, uops)
            cycles = 0
            while ctx.get(loop.busy):
                ctx.set(loop.steps.ready, rng.random() >= stall)
                step = loop.steps.payload
                if ctx.get(loop.steps.valid & loop.steps.ready):
                    assert ctx.get(step.last) == (len(wanted) <= 1)
                    assert ctx.get(step.void) == (not wanted)
                if ctx.get(loop.steps.valid & loop.steps.ready & ~step.void):
                    dst, src, wgt = wanted.pop(0)
                    assert ctx.get(step.dst) == dst % cfg.acc_depth
                    assert ctx.get(step.dst_over) == (dst >= cfg.acc_depth)
                    assert ctx.get(step.src) == src % (1 << len(step.src))
                    assert ctx.get(step.acc_over) == (src >= cfg.acc_depth)
                    assert ctx.get(step.inp_over) == (src >= cfg.inp_depth)
                    if not is_alu:
                        assert ctx.get(step.wgt) == wgt % cfg.wgt_depth
                        assert ctx.get(step.wgt_over) == (wgt >= cfg.wgt_depth)
                await ctx.tick()
                cycles += 1
            assert not wanted
            steps = len(expected_steps(insn.fields, uops))
            if not stall and steps:
                assert cycles == steps + 3, "one step a cycle after three cycles of latency"

    simulate(dut, bench)
