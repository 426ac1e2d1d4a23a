"""The arithmetic against Python's integers, and the layouts against their definitions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vta_arch import layout
from vta_arch.numerics import multiply_low, requantize_shift, round_shift, saturate, shift_right, wrap

BITS = st.sampled_from([16, 32])
WORD = st.integers(-(1 << 31), (1 << 31) - 1)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


@given(st.integers(-(1 << 62), (1 << 62) - 1), st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_wrap(value: int, bits: int) -> None:
    assert wrap(np.array(value), bits) == signed(value, bits)


@given(WORD, WORD, BITS)
def test_shift_right(value: int, amount: int, bits: int) -> None:
    value = signed(value, bits)
    limited = max(1 - bits, min(bits - 1, amount))
    expected = value >> limited if limited >= 0 else signed(value << -limited, bits)
    assert shift_right(np.array(value), amount, bits) == expected


@given(WORD, WORD, BITS)
def test_multiply_low(left: int, right: int, bits: int) -> None:
    assert multiply_low(np.array(left), right, bits) == signed(left * right, bits)


@given(WORD, st.integers(-8, 31))
def test_round_shift_is_half_up(value: int, amount: int) -> None:
    exact = Fraction(value) / (Fraction(2) ** amount)
    assert round_shift(np.array(value), amount) == floor(exact + Fraction(1, 2))


def test_requantize_by_channel() -> None:
    acc = np.array([[100, -100, 7], [1000, -1000, 8]])
    found = requantize_shift(acc, np.array([0, 1, 2]), np.array([3, 3, -1]), -128, 127)
    assert found.tolist() == [[13, -12, 18], [125, -125, 20]]
    assert saturate(np.array([-300, 5, 300]), -128, 127).tolist() == [-128, 5, 127]


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("signed_values", [True, False])
def test_bits_round_trip(width: int, signed_values: bool) -> None:
    if width == 32 and not signed_values:
        pytest.skip("unpacked values are int32")
    rng = np.random.default_rng(width)
    low, high = (-(1 << (width - 1)), 1 << (width - 1)) if signed_values else (0, 1 << width)
    values = rng.integers(low, high, size=64)
    data = layout.pack_bits(values, width)
    assert len(data) == 64 * width // 8
    np.testing.assert_array_equal(layout.unpack_bits(data, width, signed=signed_values), values)


def test_element_0_is_lowest() -> None:
    assert layout.pack_bits(np.array([1, 2, 3, -1]), 4).tolist() == [0x21, 0xF3]
    assert layout.pack_bits(np.array([1, 0, 0, 0, 0, 0, 0, 1]), 1).tolist() == [0x81]
    assert layout.pack_weight_bits(np.array([1, -1, -1, 1, 1, -1, -1, -1]), 1).tolist() == [0b00011001]
    assert layout.unpack_weight_bits(np.array([0b101], dtype=np.uint8), 1).tolist() == [1, -1, 1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize(("batch", "block"), [(1, 4), (2, 4), (2, 8)])
def test_activation_tiles(batch: int, block: int) -> None:
    x = np.arange(3 * 5 * 2 * 3).reshape(3, 5, 2, 3)
    tiles = layout.tile_activation(x, batch, block)
    assert tiles.shape == (layout.ceil_div(3, batch), layout.ceil_div(5, block), 2, 3, batch, block)
    for n, c, h, w in np.ndindex(x.shape):
        assert tiles[n // batch, c // block, h, w, n % batch, c % block] == x[n, c, h, w]
    assert tiles.sum() == x.sum()
    np.testing.assert_array_equal(layout.untile_activation(tiles, 3, 5), x)


def test_weight_tiles_and_channels() -> None:
    w = np.arange(5 * 3 * 2 * 2).reshape(5, 3, 2, 2)
    tiles = layout.tile_weight(w, 4, 2)
    assert tiles.shape == (2, 2, 2, 2, 4, 2)
    for o, i, y, x in np.ndindex(w.shape):
        assert tiles[o // 4, i // 2, y, x, o % 4, i % 2] == w[o, i, y, x]
    assert layout.tile_channels(np.arange(1, 6), 2, 4).tolist() == [[[1, 2, 3, 4]] * 2, [[5, 0, 0, 0]] * 2]
