"""Two products in one multiplier: the formula in numpy, for every weight pair and activation."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset, preset_names
from vta_hw.packed_products import PORT_BITS, PackedChain, packs

SMALL = {"log_uop_buff": 8, "log_inp_buff": 10, "log_wgt_buff": 12, "log_acc_buff": 12}
CONFIGS = {
    "int8": VTAConfig(block_in=4, block_out=4, **SMALL),
    "unsigned": VTAConfig(block_in=4, block_out=4, inp_signed=False, **SMALL),
    "w4a8": VTAConfig(block_in=8, block_out=4, wgt_width=4, **SMALL),
    "w8a4": VTAConfig(block_in=8, block_out=4, inp_width=4, **SMALL),
}


def wrap(value: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement in ``bits`` bits."""
    return ((value + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1))


def multiplied(cfg: VTAConfig, w0: np.ndarray, w1: np.ndarray, a: int) -> np.ndarray:
    """What one multiplier adds to its chain."""
    packed = (w1 << PackedChain(cfg).shift) + w0
    assert packed.min() >= -(1 << (PORT_BITS - 1))
    assert packed.max() < 1 << (PORT_BITS - 1)
    return packed * a


def split(cfg: VTAConfig, total: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both columns' sums out of a chain's; of the ``second`` one, only the residue is looked at."""
    chain = PackedChain(cfg)
    shift, bits = chain.shift, chain.residue_bits
    total = wrap(total - chain.offset, chain.total_bits)
    above, below = total >> shift, total & ((1 << shift) - 1)
    found, residue = above & ((1 << bits) - 1), second & ((1 << bits) - 1)
    low = (((found - residue) & ((1 << bits) - 1)) << shift | below) ^ chain.offset
    return wrap(low, shift + bits), ((above >> bits) + (residue <= found) << bits) + residue


@pytest.mark.parametrize("name", CONFIGS)
def test_every_product_beside_the_largest_and_smallest_others(name: str) -> None:
    cfg = CONFIGS[name]
    weights = np.arange(cfg.wgt_min, cfg.wgt_max + 1, dtype=np.int64)
    w0, w1 = weights[:, None], weights[None, :]
    others = PackedChain(cfg).rows - 1
    corners = [
        (w, v, a) for w in (cfg.wgt_min, cfg.wgt_max) for v in (cfg.wgt_min, 1) for a in (cfg.inp_min, cfg.inp_max)
    ]
    for a in range(cfg.inp_min, cfg.inp_max + 1):
        alone = multiplied(cfg, w0, w1, a)
        for x0, x1, b in [(0, 0, 0), corners[a % len(corners)], corners[(a // len(corners)) % len(corners)]]:
            rest = others * multiplied(cfg, np.array([[x0]]), np.array([[x1]]), b)
            low, high = split(cfg, alone + rest, w1 * a + others * x1 * b)
            assert np.array_equal(low, np.broadcast_to(w0 * a + others * x0 * b, low.shape)), (a, x0, x1, b)
            assert np.array_equal(high, np.broadcast_to(w1 * a + others * x1 * b, high.shape)), (a, x0, x1, b)


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_chains_at_random(name: str) -> None:
    cfg = CONFIGS[name]
    rows = PackedChain(cfg).rows
    rng = np.random.default_rng(3)
    shape = (rows, 100_000)
    w0, w1 = (rng.integers(cfg.wgt_min, cfg.wgt_max + 1, shape) for _ in range(2))
    a = rng.integers(cfg.inp_min, cfg.inp_max + 1, shape)
    for array, low, high in (
        (w0, cfg.wgt_min, cfg.wgt_max),
        (w1, cfg.wgt_min, cfg.wgt_max),
        (a, cfg.inp_min, cfg.inp_max),
    ):
        array[:, ::2] = rng.choice([low, high], array[:, ::2].shape)
    total = sum(multiplied(cfg, w0[r], w1[r], a[r]) for r in range(rows))
    low, high = split(cfg, total, (w1 * a).sum(axis=0))
    assert np.array_equal(low, (w0 * a).sum(axis=0))
    assert np.array_equal(high, (w1 * a).sum(axis=0))


def test_which_presets_pack() -> None:
    packed = {name for name in preset_names() if packs(load_preset(name))}
    assert packed == set(preset_names()) - {"int4", "int4-pynq", "int2", "int1"}
