"""Narrow products: the formulas of chains and planes in numpy, and what goes where."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_hw.array_operands import sum_shape
from vta_hw.field_chains import PORT_BITS, FieldChain
from vta_hw.narrow_products import NarrowProducts, chained_products, multipliers_left
from vta_hw.plane_sums import subtractions

SMALL = {"log_uop_buff": 8, "log_inp_buff": 10, "log_wgt_buff": 12, "log_acc_buff": 12}
CONFIGS = {
    "int4": VTAConfig(block_in=8, block_out=8, inp_width=4, wgt_width=4, **SMALL),
    "unsigned-int4": VTAConfig(block_in=8, block_out=8, inp_width=4, wgt_width=4, inp_signed=False, **SMALL),
    "int2": VTAConfig(block_in=16, block_out=16, inp_width=2, wgt_width=2, **SMALL),
    "batch2": VTAConfig(block_in=8, block_out=8, batch=2, inp_width=4, wgt_width=4, **SMALL),
    "w2a8": VTAConfig(block_in=8, block_out=8, wgt_width=2, **SMALL),
}
PRESETS = {f"{name}-preset": load_preset(name) for name in ("int4", "int4-pynq", "int2")}


@pytest.mark.parametrize("name", CONFIGS)
def test_fields_hold_every_product_beside_the_largest_and_smallest_others(name: str) -> None:
    cfg = CONFIGS[name]
    chain = FieldChain(cfg)
    moved, half = 1 << (cfg.wgt_width - 1), 1 << (chain.field - 1)
    weights = np.arange(cfg.wgt_min, cfg.wgt_max + 1, dtype=np.int64)
    columns = np.meshgrid(*[weights] * chain.fields, indexing="ij")
    highest = chain.fields - 1

    def packed(values: list[np.ndarray]) -> np.ndarray:
        fields = [value + (0 if column == highest else moved) for column, value in enumerate(values)]
        total = sum(field << (chain.field * column) for column, field in enumerate(fields))
        assert total.min() >= -(1 << (PORT_BITS - 1))
        assert total.max() < 1 << (PORT_BITS - 1)
        return total

    for a in range(cfg.inp_min, cfg.inp_max + 1):
        for b, w in [(0, 0), *((b, w) for b in (cfg.inp_min, cfg.inp_max) for w in (cfg.wgt_min, cfg.wgt_max))]:
            others = chain.ROWS - 1
            rows = a + others * b
            start = sum(
                (half - (0 if c == highest else moved * rows)) << (chain.field * c) for c in range(chain.fields)
            )
            total = start + packed(columns) * a + others * b * packed([np.full_like(weights, w)] * chain.fields)[0]
            for column, own in enumerate(columns):
                field = (total >> (chain.field * column)) & ((1 << chain.field) - 1)
                assert np.array_equal(field - half, own * a + others * w * b), (a, b, w, column)


@pytest.mark.parametrize("pairs", [1, 2, 4, 8])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_subtractions_cancel_out(pairs: int, bits: int) -> None:
    ones = subtractions(pairs, bits)
    assert len(ones) == bits
    assert all(0 <= count <= max(0, pairs - 1) for count in ones)
    assert sum(count << plane for plane, count in enumerate(ones[:-1])) == ones[-1] << (bits - 1)


@pytest.mark.parametrize("name", [*CONFIGS, *PRESETS])
def test_chains_stay_within_the_multipliers_and_outside_depthwise_rows(name: str) -> None:
    cfg = (CONFIGS | PRESETS)[name]
    fields, chained = FieldChain(cfg).fields, chained_products(cfg)
    assert fields > 1
    assert chained
    chains = sum(-(-columns // fields) for columns in chained.values())
    assert chains * FieldChain.ROWS <= multipliers_left(cfg)
    if "depthwise" in cfg.extensions:
        assert min(block for _, block in chained) >= 2 * cfg.depthwise_taps * cfg.depthwise_outputs


def test_every_product_is_summed_once() -> None:
    for name in ("int4", "int2", "int1"):
        cfg = load_preset(name)
        products = NarrowProducts(cfg)
        for column in range(cfg.block_out):
            rows = [
                row
                for blocks, groups in products._rows(0, column)
                for row in (
                    *(block + number for block in blocks for number in range(FieldChain.ROWS)),
                    *(row for group in groups for row in group),
                )
            ]
            assert sorted(rows) == list(range(cfg.block_in)), (name, column)


def test_products_of_one_bit_take_no_multiplier() -> None:
    assert not chained_products(load_preset("int1"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sum_has_the_bits_it_needs(name: str) -> None:
    cfg = CONFIGS[name]
    least, most = sum_shape(cfg, 4).width - 1, 4 * max(cfg.inp_min * cfg.wgt_min, cfg.inp_max * cfg.wgt_max)
    assert max(most, -1 - 4 * min(cfg.inp_min * cfg.wgt_max, cfg.inp_max * cfg.wgt_min)).bit_length() == least
