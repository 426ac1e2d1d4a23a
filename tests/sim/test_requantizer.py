"""Requantization in few passes: the same as the extension's own arithmetic, for every value of every field."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from vta_arch.requant import REQ_FIELDS, RequantParams
from vta_arch.requant import requantize as exact
from vta_sim.requantizer import PARAM_ROWS, prepare, requantize

CHANNELS, BATCH = 8, 2


def parameters(rng: np.random.Generator, count: int) -> RequantParams:
    """[count, CHANNELS] of arbitrary bits, a third of them extremes."""
    values = {}
    for item in fields(RequantParams):
        field = REQ_FIELDS[item.name]
        plain = rng.integers(field.min, field.max, size=(count, CHANNELS), endpoint=True)
        extreme = rng.choice([field.min, field.max, max(0, field.min)], size=plain.shape)
        values[item.name] = np.where(rng.random(plain.shape) < 0.35, extreme, plain)
    return RequantParams(**values)


@pytest.mark.parametrize("width", [16, 32])
def test_same_as_the_definition(width: int) -> None:
    rng = np.random.default_rng(width)
    params = parameters(rng, 4000)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    acc = rng.integers(low, high, size=(4000, BATCH, CHANNELS), endpoint=True)
    acc = np.where(rng.random(acc.shape) < 0.2, rng.choice([low, high, 0, -1, 1], size=acc.shape), acc)
    prepared = prepare(params.pack(), CHANNELS, width)
    assert prepared.shape == (4000, PARAM_ROWS, CHANNELS)
    found = requantize(acc.reshape(4000, -1), prepared)
    np.testing.assert_array_equal(found.reshape(acc.shape), exact(acc, params[:, None], width))


def test_ties_go_to_even() -> None:
    zeros = np.zeros((1, CHANNELS), dtype=np.int64)
    params = RequantParams(zeros, zeros + 1, zeros + 1, zeros, zeros, zeros - 512, zeros + 511)
    acc = np.arange(-8, 8).reshape(1, -1)
    found = requantize(acc, prepare(params.pack(), CHANNELS, 32))
    assert found.tolist() == [[-4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4]]


def test_one_set_for_many_accumulators_and_zero_bits() -> None:
    rng = np.random.default_rng(1)
    params = parameters(rng, 3)
    prepared = prepare(params.pack(), CHANNELS, 32)
    acc = rng.integers(-(1 << 20), 1 << 20, size=(3, 5, CHANNELS))
    np.testing.assert_array_equal(requantize(acc, prepared[:, None]), exact(acc, params[:, None], 32))
    np.testing.assert_array_equal(requantize(acc, prepared[:1, None]), exact(acc, params[0], 32))
    empty = prepare(np.zeros((1, CHANNELS, 16), dtype=np.uint8), CHANNELS, 32)
    assert not empty.any()
    assert not requantize(acc, empty).any()
