"""Packing windows into channels, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.packing import PackStep, is_compact
from vta_arch.presets import load_preset
from vta_arch.program import Tensor
from vta_runtime.packing import pack_windows
from vta_runtime.tensors import pack_tensor


def defined(step: PackStep, source: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    packed = np.full(shape, step.value, source.dtype)
    rows, cols = step.window
    for r, q, y, x in np.ndindex(rows, cols, *shape[2:]):
        at = y * step.strides[0] + r * step.dilations[0] - step.before[0]
        beside = x * step.strides[1] + q * step.dilations[1] - step.before[1]
        if 0 <= at < source.shape[2] and 0 <= beside < source.shape[3]:
            first = (r * cols + q) * source.shape[1]
            packed[:, first : first + source.shape[1], y, x] = source[:, :, at, beside]
    return packed


@pytest.mark.parametrize("seed", range(20))
def test_windows(seed: int) -> None:
    """Windows far outside, between and larger than the source; tiles are those of the plain array."""
    rng = np.random.default_rng(seed)
    window, strides, dilations = (tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(3))
    before = tuple(int(v) for v in rng.integers(0, 8, 2))
    images, channels, *size = (int(v) for v in rng.integers(1, 6, 4))
    shape = images, window[0] * window[1] * channels, *(int(v) for v in rng.integers(1, 7, 2))
    kind, dtype = (np.uint8, "uint8") if seed % 2 else (np.int8, "int8")
    source = rng.integers(0, 100, (images, channels, *size)).astype(kind)
    step = PackStep("x", "p", window, strides, dilations, before, int(rng.integers(100)))  # type: ignore[arg-type]
    tensor = Tensor("p", shape, dtype)
    found = pack_windows(step, source, tensor)
    expected = defined(step, source, shape)
    assert found.dtype == kind
    assert np.array_equal(found, expected)
    cfg = load_preset("tiny")
    assert np.array_equal(pack_tensor(cfg, tensor, found), pack_tensor(cfg, tensor, expected))


def test_far_windows_are_not_compact() -> None:
    step = PackStep("x", "p", (2, 2), (1, 1), (60000, 60000), (0, 0))
    assert not is_compact(step, (1, 3, 8, 8), (1, 12, 4, 4))
