"""The multiplier array against numpy, for every width."""

from __future__ import annotations

import numpy as np
import pytest
from bench import simulate
from vta_arch.config import VTAConfig
from vta_arch.layout import pack_bits, pack_weight_bits
from vta_hw import narrow_products
from vta_hw.field_chains import FieldChain
from vta_hw.mac_array import MacArray

SMALL = {"log_uop_buff": 8, "log_inp_buff": 10, "log_wgt_buff": 12, "log_acc_buff": 12}
CONFIGS = {
    "int8": VTAConfig(block_in=4, block_out=4, **SMALL),
    "unsigned": VTAConfig(block_in=4, block_out=2, inp_signed=False, **SMALL),
    "int4-batch2": VTAConfig(block_in=8, block_out=4, inp_width=4, wgt_width=4, batch=2, **SMALL),
    "w4a8": VTAConfig(block_in=2, block_out=4, wgt_width=4, **SMALL),
    "w8a4": VTAConfig(block_in=8, block_out=2, inp_width=4, **SMALL),
    "two-chains": VTAConfig(block_in=8, block_out=2, batch=2, **SMALL),
    "unsigned-two-chains": VTAConfig(block_in=8, block_out=2, inp_signed=False, **SMALL),
    "int2": VTAConfig(block_in=16, block_out=8, inp_width=2, wgt_width=2, **SMALL),
    "int1": VTAConfig(block_in=32, block_out=8, inp_width=1, wgt_width=1, **SMALL),
    "one-product": VTAConfig(block_in=1, block_out=1, **SMALL),
}


def to_int(data: np.ndarray) -> int:
    return int.from_bytes(data.tobytes(), "little")


@pytest.mark.parametrize("name", CONFIGS)
def test_sums_of_products(name: str) -> None:
    check_sums(CONFIGS[name])


@pytest.mark.parametrize("chains", [0, 5])
def test_sums_when_multipliers_run_out(chains: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = VTAConfig(block_in=8, block_out=8, inp_width=4, wgt_width=4, **SMALL)
    monkeypatch.setattr(narrow_products, "DEVICE_MULTIPLIERS", cfg.block_out + FieldChain.ROWS * chains)
    chained = narrow_products.chained_products(cfg)
    assert bool(chained) == bool(chains)
    assert not chained or min(chained.values()) < cfg.block_out
    check_sums(cfg)


def check_sums(cfg: VTAConfig) -> None:
    """Random and extreme operands, one pair a cycle."""
    dut = MacArray(cfg)
    rng = np.random.default_rng(1)
    vectors, expected = [], []
    for case in range(20):
        inp = rng.integers(cfg.inp_min, cfg.inp_max + 1, (cfg.batch, cfg.block_in))
        wgt = rng.integers(cfg.wgt_min, cfg.wgt_max + 1, (cfg.block_out, cfg.block_in))
        if case % 2:
            inp = rng.choice([cfg.inp_min, cfg.inp_max, 1], inp.shape)
            wgt = rng.choice([cfg.wgt_min, cfg.wgt_max, 1, -1], wgt.shape)
        if cfg.wgt_width == 1:
            wgt = np.where(wgt > 0, 1, -1)
        if case == 0:
            inp, wgt = np.full_like(inp, cfg.inp_min), np.full_like(wgt, cfg.wgt_min)
        vectors.append((to_int(pack_bits(inp, cfg.inp_width)), to_int(pack_weight_bits(wgt, cfg.wgt_width))))
        expected.append(inp @ wgt.T)

    def sums(packed: int) -> np.ndarray:
        bits = dut.sum_bits
        values = [(packed >> (bits * lane)) & ((1 << bits) - 1) for lane in range(cfg.batch * cfg.block_out)]
        signed = [value - (1 << bits) if value >> (bits - 1) else value for value in values]
        return np.array(signed).reshape(cfg.batch, cfg.block_out)

    async def bench(ctx: object) -> None:
        for cycle in range(len(vectors) + dut.latency):
            if cycle >= dut.latency:
                assert np.array_equal(sums(ctx.get(dut.psum)), expected[cycle - dut.latency]), cycle
            if cycle < len(vectors):
                ctx.set(dut.inp, vectors[cycle][0])
                ctx.set(dut.wgt, vectors[cycle][1])
            await ctx.tick()

    simulate(dut, bench)
