"""Depthwise steps against numpy: in the multiplier array alone, and with memories around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from bench import simulate
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.layout import pack_bits, pack_weight_bits
from vta_hw.gemm import Gemm
from vta_hw.mac_array import MacArray

Array = NDArray[np.int64]
BASE: dict[str, Any] = {
    "log_uop_buff": 8,
    "log_inp_buff": 8,
    "log_wgt_buff": 12,
    "log_acc_buff": 12,
    "extensions": frozenset({"depthwise"}),
}
CONFIGS = {
    "int8-block4": VTAConfig(block_in=4, block_out=4, **BASE),
    "w4a8-block16": VTAConfig(block_in=16, block_out=16, wgt_width=4, inp_signed=False, **BASE),
    "int4-block8-batch2": VTAConfig(block_in=8, block_out=8, inp_width=4, wgt_width=4, batch=2, **BASE),
    "block2-acc16": VTAConfig(block_in=2, block_out=2, wgt_width=2, acc_width=16, **BASE),
}
WIDE = {"int2-block32": VTAConfig(block_in=32, block_out=32, inp_width=2, wgt_width=2, **BASE)}


def to_int(data: Array) -> int:
    return int.from_bytes(data.tobytes(), "little")


def outputs_of(cfg: VTAConfig, taps: Array, wgt: Array) -> Array:
    """[outputs, batch, block_out] of one step from its ``taps`` [taps, batch, block_in]."""
    t, p = cfg.depthwise_taps, cfg.depthwise_outputs
    pairs = np.repeat(taps.reshape(t, cfg.batch, -1, 2), 2, axis=2)  # t b o c
    kernels = wgt[:, : 2 * p * t].reshape(cfg.block_out, p, 2, t)
    return np.einsum("tboc,opct->pbo", pairs, kernels)


def wrap(values: Array, bits: int) -> Array:
    return ((values + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1))


def lanes_of(cfg: VTAConfig, packed: int, bits: int) -> Array:
    values = [(packed >> (bits * lane)) & ((1 << bits) - 1) for lane in range(cfg.batch * cfg.block_out)]
    return wrap(np.array(values, np.int64), bits).reshape(cfg.batch, cfg.block_out)


def random_operands(cfg: VTAConfig, rng: np.random.Generator, vectors: int) -> tuple[Array, Array]:
    """Vectors [n, batch, block_in] and one tile [block_out, block_in], in half of the cases of extreme values."""
    inp = rng.integers(cfg.inp_min, cfg.inp_max + 1, (vectors, cfg.batch, cfg.block_in))
    wgt = rng.integers(cfg.wgt_min, cfg.wgt_max + 1, (cfg.block_out, cfg.block_in))
    if rng.random() < 0.5:
        inp = rng.choice([cfg.inp_min, cfg.inp_max], inp.shape)
        wgt = rng.choice([cfg.wgt_min, cfg.wgt_max], wgt.shape)
    return inp, wgt


@pytest.mark.parametrize("name", [*CONFIGS, *WIDE])
def test_array_gathers_the_sums_of_each_output(name: str) -> None:
    cfg = (CONFIGS | WIDE)[name]
    dut = MacArray(cfg)
    rng = np.random.default_rng(5)
    count = 12 if name in WIDE else 60
    expected: dict[int, Array] = {}
    cycles = []
    sums = np.zeros((cfg.depthwise_outputs, cfg.batch, cfg.block_out), np.int64)
    fresh = True
    for cycle in range(count):
        inp, wgt = random_operands(cfg, rng, cfg.depthwise_taps)
        deep, first, valid = rng.random() < 0.7, fresh or rng.random() < 0.4, rng.random() < 0.8
        first |= not deep
        cycles.append((to_int(pack_bits(inp, cfg.inp_width)), to_int(pack_weight_bits(wgt, cfg.wgt_width))))
        cycles[-1] += (int(deep), int(first), int(valid))
        if valid and not deep:
            expected[cycle] = np.stack([inp[0] @ wgt.T])
            fresh = True
        elif valid:
            sums = outputs_of(cfg, inp, wgt) + (0 if first else sums)
            expected[cycle] = sums
            fresh = False

    async def bench(ctx: Any) -> None:
        ports = (dut.inp, dut.wgt, dut.depthwise, dut.first, dut.valid)
        for cycle in range(count + dut.latency + 1):
            now, before = expected.get(cycle - dut.latency), expected.get(cycle - dut.latency - 1)
            if now is not None:
                assert np.array_equal(lanes_of(cfg, ctx.get(dut.psum), dut.sum_bits), wrap(now[0], dut.sum_bits)), cycle
            if before is not None and len(before) > 1:
                found = lanes_of(cfg, ctx.get(dut.psum_next), dut.sum_bits)
                assert np.array_equal(found, wrap(before[1], dut.sum_bits)), cycle
            if cycle < count:
                for port, value in zip(ports, cycles[cycle], strict=True):
                    ctx.set(port, value)
            await ctx.tick()

    simulate(dut, bench)


@dataclass(frozen=True)
class Step:
    """One micro-op in one iteration. ``mode``: 0 adds, 1 writes 0, 2 overwrites."""

    depthwise: bool
    ends: bool
    dst: int
    src: int
    wgt: int
    mode: int


class Reference:
    """Memories, and what the steps do to the accumulators one after the other."""

    def __init__(self, cfg: VTAConfig, rng: np.random.Generator) -> None:
        self.cfg = cfg
        self.inp = rng.integers(cfg.inp_min, cfg.inp_max + 1, (cfg.inp_depth, cfg.batch, cfg.block_in))
        self.wgt = rng.integers(cfg.wgt_min, cfg.wgt_max + 1, (cfg.wgt_depth, cfg.block_out, cfg.block_in))
        self.acc = rng.integers(cfg.acc_min, cfg.acc_max + 1, (cfg.acc_depth, cfg.batch, cfg.block_out))
        self.sums = np.zeros((cfg.depthwise_outputs, cfg.batch, cfg.block_out), np.int64)

    def taps(self, src: int) -> Array:
        return self.inp[(src + np.arange(self.cfg.depthwise_taps)) % self.cfg.inp_depth]

    def update(self, dst: int, value: Array, mode: int) -> None:
        old = 0 if mode else self.acc[dst]
        self.acc[dst] = wrap(old + (0 if mode == 1 else value), self.cfg.acc_width)

    def run(self, step: Step) -> None:
        if not step.depthwise:
            self.update(step.dst, self.inp[step.src] @ self.wgt[step.wgt].T, step.mode)
            return
        self.sums += outputs_of(self.cfg, self.taps(step.src), self.wgt[step.wgt])
        if step.ends:
            half = self.cfg.acc_depth // 2
            for number, value in enumerate(self.sums):
                self.update(step.dst // half * half + (step.dst + number) % half, value, step.mode)
            self.sums = np.zeros_like(self.sums)


def random_steps(cfg: VTAConfig, rng: np.random.Generator, ranges: int) -> Iterator[Step]:
    """Ranges of one to four micro-ops, or GEMM steps, on few accumulators; also at the ends of banks."""
    half = cfg.acc_depth // 2
    targets = [*range(4), half - 1, half, cfg.acc_depth - 1]
    for _ in range(ranges):
        depthwise, mode, length = rng.random() < 0.7, int(rng.choice([0, 0, 1, 2])), int(rng.integers(1, 5))
        for number in range(length):
            yield Step(
                depthwise,
                number == length - 1,
                int(rng.choice(targets)),
                int(rng.integers(cfg.inp_depth)),
                int(rng.integers(min(3, cfg.wgt_depth))),
                mode,
            )


async def run_steps(ctx: Any, dut: Gemm, reference: Reference, steps: list[Step], gaps: np.random.Generator) -> Array:
    """Feeds steps, answers the reads, takes the writes; returns the accumulators."""
    cfg = reference.cfg
    acc = reference.acc.copy()
    reads: dict[str, int] = {}
    waiting = list(steps)
    for _ in range(3 * len(steps) + 60):
        sent = bool(waiting) and gaps.random() < 0.8
        ctx.set(dut.steps.valid, sent)
        if sent:
            step, payload = waiting[0], dut.steps.payload
            values = {"dst": step.dst, "src": step.src, "wgt": step.wgt, "depthwise": step.depthwise}
            values |= {"ends": step.ends, "reset": step.mode > 0, "one_bank": step.mode == 2}
            for name, value in values.items():
                ctx.set(payload[name], int(value))
        if "inp" in reads:
            ctx.set(dut.inp.data, to_int(pack_bits(reference.taps(reads["inp"]), cfg.inp_width)))
        if "wgt" in reads:
            ctx.set(dut.wgt.data, to_int(pack_weight_bits(reference.wgt[reads["wgt"]], cfg.wgt_width)))
        if "acc" in reads:
            value, bank = to_int(pack_bits(acc[reads["acc"]], cfg.acc_width)), reads["acc"] >> (cfg.log_acc_depth - 1)
            ctx.set(dut.acc.banks[bank], value)
            ctx.set(dut.acc.banks[1 - bank], ~value)
        reads = {name: ctx.get(port.addr) for name in ("inp", "wgt", "acc") if ctx.get((port := getattr(dut, name)).en)}
        if ctx.get(dut.write.mask):
            acc[ctx.get(dut.write.addr)] = lanes_of(cfg, ctx.get(dut.write.data), cfg.acc_width)
        if sent and ctx.get(dut.steps.ready):
            waiting.pop(0)
        await ctx.tick()
    assert not waiting
    return acc


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_one_after_the_other(name: str) -> None:
    """Any mixture with GEMM, with gaps, gives the accumulators of sequential execution."""
    cfg = CONFIGS[name]
    rng = np.random.default_rng(2)
    reference = Reference(cfg, rng)
    steps = list(random_steps(cfg, rng, 60))
    dut = Gemm(cfg)

    async def bench(ctx: Any) -> None:
        found = await run_steps(ctx, dut, reference, steps, rng)
        for step in steps:
            reference.run(step)
        assert np.array_equal(found, reference.acc)

    simulate(dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_past_an_end_is_an_error(name: str) -> None:
    """The last tap, and the second output of a step that ends its iteration."""
    cfg = CONFIGS[name]
    dut = Gemm(cfg)
    half, taps = cfg.acc_depth // 2, cfg.depthwise_taps
    two = cfg.depthwise_outputs > 1
    cases = [
        ({"src": cfg.inp_depth - taps}, False),
        ({"src": cfg.inp_depth - taps + 1}, taps > 1),
        ({"src": cfg.inp_depth - 1, "reset": 1}, False),
        ({"dst": half - 1}, two),
        ({"dst": half - 1, "ends": 0}, False),
        ({"dst": cfg.acc_depth - 1, "reset": 1}, two),
        ({"dst": half - 1, "src": cfg.inp_depth - 1, "depthwise": 0}, False),
    ]

    async def bench(ctx: Any) -> None:
        for fields, expected in cases:
            for name, value in ({"depthwise": 1, "ends": 1, "dst": 0, "src": 0, "reset": 0} | fields).items():
                ctx.set(dut.steps.payload[name], value)
            ctx.set(dut.steps.valid, 1)
            await ctx.tick()
            ctx.set(dut.steps.valid, 0)
            assert ctx.get(dut.range_error) == expected, fields
            await ctx.tick().repeat(2)

    simulate(dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_waits_only_for_a_second_update(name: str) -> None:
    """Two ends in a row take a cycle for each output; a range of as many micro-ops as outputs never waits."""
    cfg = CONFIGS[name]
    dut = Gemm(cfg)
    two = cfg.depthwise_outputs > 1

    async def ready_after_end(ctx: Any, depthwise: int, ends: int) -> bool:
        await ctx.tick()
        ctx.set(dut.steps.payload.depthwise, depthwise)
        ctx.set(dut.steps.payload.ends, ends)
        ready = bool(ctx.get(dut.steps.ready))
        ctx.set(dut.steps.valid, 0)
        await ctx.tick().repeat(2)
        return ready

    async def bench(ctx: Any) -> None:
        for depthwise, ends, waits in ((1, 0, False), (1, 1, two), (0, 0, two)):
            ctx.set(dut.steps.payload.depthwise, 1)
            ctx.set(dut.steps.payload.ends, 1)
            ctx.set(dut.steps.valid, 1)
            assert await ready_after_end(ctx, depthwise, ends) != waits

    simulate(dut, bench)
