"""A lane of the requantizer against the arithmetic of the contract: random values and corners."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bench import simulate
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.requant import REQ_FIELDS, RequantParams, requantize
from vta_hw.requant_lane import RequantLane

Ints = NDArray[np.int64]
LIMITS = ("zero_point", "low", "high")


def made(count: int, **values: Ints | int) -> RequantParams:
    """Parameters of ``count`` channels; what is not given is 0."""
    return RequantParams(**{name: np.broadcast_to(np.int64(values.get(name, 0)), (count,)) for name in REQ_FIELDS})


def random_params(rng: np.random.Generator, count: int) -> RequantParams:
    values = {f.name: rng.integers(f.min, f.max, count, endpoint=True) for f in REQ_FIELDS.values()}
    values["low"], values["high"] = np.minimum(values["low"], values["high"]), np.maximum(values["low"], values["high"])
    small = rng.random(count) < 0.5
    values["bias"] >>= np.where(small, rng.integers(0, 32, count), 0)
    return RequantParams(**values)


def corners(cfg: VTAConfig) -> tuple[Ints, RequantParams]:
    """Every extreme of every operand with every shift that matters, narrow and wide."""
    accs = [cfg.acc_min, cfg.acc_max, -1, 0, 1]
    biases = [-(1 << 31), (1 << 31) - 1, 0]
    multipliers = [0, 1, 1 << 23, (1 << 24) - 1]
    shifts = [0, 1, 15, 16, 17, 31, 32, 48, 56, 57, 63]
    grid = np.meshgrid(accs, biases, multipliers, shifts, [0, 1], indexing="ij")
    acc, bias, multiplier, shift, wide = (axis.ravel() for axis in grid)
    limits = {"zero_point": -512, "low": -512, "high": 511}
    return acc, made(
        len(acc),
        bias=bias,
        multiplier=multiplier,
        shift=shift,
        wide=wide,
        **{n: np.int64(v) for n, v in limits.items()},
    )


def ties() -> tuple[Ints, RequantParams]:
    """Halves, and what lies next to them, for every shift."""
    shift = np.repeat(np.arange(1, 40), 24)
    whole = np.tile(np.repeat(np.arange(-4, 4), 3), 39)
    beside = np.tile(np.array([-1, 0, 1]), 39 * 8)
    product = (whole << shift) + (np.int64(1) << (shift - 1)) + beside
    exact = np.abs(product) < 1 << 31
    return product[exact], made(int(exact.sum()), multiplier=1, shift=shift[exact], low=-512, high=511)


def run(cfg: VTAConfig, acc: Ints, params: RequantParams) -> list[int]:
    """The lane's results, an element a cycle."""
    dut, found = RequantLane(cfg), []
    total = len(acc)

    async def bench(ctx: Any) -> None:
        for cycle in range(total + dut.LATENCY):
            if cycle < total:
                ctx.set(dut.acc, int(acc[cycle]))
                for name in ("bias", "multiplier", "shift", "wide"):
                    ctx.set(getattr(dut, name), int(getattr(params, name)[cycle]))
            late = cycle - dut.LIMITS_AT
            if 0 <= late < total:
                for name in LIMITS:
                    ctx.set(getattr(dut, name), int(getattr(params, name)[late]))
            if cycle >= dut.LATENCY:
                found.append(ctx.get(dut.result))
            await ctx.tick()

    simulate(dut, bench, total + 50)
    return found


@pytest.mark.parametrize("width", [16, 32])
def test_random_values(width: int) -> None:
    cfg = replace(load_preset("tiny"), acc_width=width)
    rng = np.random.default_rng(width)
    count = 1500
    acc = rng.integers(cfg.acc_min, cfg.acc_max, count, endpoint=True) >> rng.integers(0, width, count)
    params = random_params(rng, count)
    assert run(cfg, acc, params) == requantize(acc, params, width).tolist()


@pytest.mark.parametrize("width", [16, 32])
def test_corners(width: int) -> None:
    cfg = replace(load_preset("tiny"), acc_width=width)
    acc, params = corners(cfg)
    assert run(cfg, acc, params) == requantize(acc, params, width).tolist()


def test_ties_go_to_even() -> None:
    acc, params = ties()
    assert run(load_preset("tiny"), acc, params) == requantize(acc, params, 32).tolist()


def test_blank_makes_zero() -> None:
    cfg = load_preset("tiny")
    dut = RequantLane(cfg)

    async def bench(ctx: Any) -> None:
        for name, value in {"acc": 5, "multiplier": 1, "zero_point": 3, "low": 1, "high": 100}.items():
            ctx.set(getattr(dut, name), value)
        for _ in range(dut.LATENCY):
            await ctx.tick()
        assert ctx.get(dut.result) == 8
        ctx.set(dut.blank, 1)
        for _ in range(dut.LATENCY - dut.LIMITS_AT):
            await ctx.tick()
        assert ctx.get(dut.result) == 0

    simulate(dut, bench, 50)
