"""Requantization parameters: packing, fixed-point scales, and the arithmetic against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from vta_arch.errors import DataError
from vta_arch.requant import REQ_FIELDS, RequantParams, fixed_point, requantize


def _random(rng: np.random.Generator, count: int) -> RequantParams:
    values = {f.name: rng.integers(f.min, f.max, count, endpoint=True) for f in REQ_FIELDS.values()}
    return RequantParams(**values)


def _exact(acc: int, params: RequantParams, index: int, width: int) -> int:
    one = {name: int(getattr(params, name)[index]) for name in REQ_FIELDS}
    rounded = round(Fraction((acc + one["bias"]) * one["multiplier"], 1 << one["shift"]))  # half to even
    if one["wide"]:
        return min(max(rounded, -(1 << (width - 1))), (1 << (width - 1)) - 1)
    return min(max(rounded + one["zero_point"], one["low"]), one["high"])


@pytest.mark.parametrize("width", [16, 32])
def test_arithmetic_equals_fractions(width: int) -> None:
    rng = np.random.default_rng(width)
    params = _random(rng, 4000)
    acc = rng.integers(-(1 << (width - 1)), 1 << (width - 1), 4000) >> rng.integers(0, width, 4000)
    got = requantize(acc, params, width)
    assert got.tolist() == [_exact(int(acc[n]), params, n, width) for n in range(4000)]


def test_ties_go_to_even() -> None:
    acc = np.arange(-8, 9)
    params = RequantParams(*(np.full(17, v) for v in (0, 1 << 23, 24, 0, 0, -128, 127)))
    assert requantize(acc, params, 32).tolist() == np.rint(acc / 2).astype(int).tolist()


def test_packing_round_trip() -> None:
    params = _random(np.random.default_rng(1), 300)
    back = RequantParams.unpack(params.pack())
    assert params.pack().shape == (300, 16)
    for name in REQ_FIELDS:
        np.testing.assert_array_equal(getattr(back, name), getattr(params, name))


def test_a_value_that_does_not_fit_is_named() -> None:
    params = RequantParams(*(np.full(2, v) for v in (0, 1, 0, 0, 512, 0, 0)))
    with pytest.raises(DataError, match="zero_point = 512: must be from -512 to 511"):
        params.pack()


def test_fixed_point_holds_a_float32_exactly() -> None:
    rng = np.random.default_rng(2)
    scale = np.ldexp(rng.uniform(0.5, 1, 1000), rng.integers(-39, 24, 1000)).astype(np.float32)
    multiplier, shift = fixed_point(scale)
    for index, value in enumerate(scale):
        assert Fraction(int(multiplier[index]), 1 << int(shift[index])) == Fraction(float(value))
    assert fixed_point(np.zeros(1, np.float32))[0].tolist() == [0]


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), 2.0**24])
def test_impossible_scales_are_refused(scale: float) -> None:
    with pytest.raises(DataError, match="must be from 0 to below"):
        fixed_point(np.array([scale], np.float32))
