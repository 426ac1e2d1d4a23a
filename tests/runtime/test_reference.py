"""The integer reference against loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.program import Layer
from vta_runtime.reference import convolve


def loops(x: np.ndarray, w: np.ndarray, layer: Layer) -> np.ndarray:
    """Convolution as it is defined, one output at a time."""
    top, left, bottom, right = layer.attributes["pads"]
    (sh, sw), (dh, dw) = layer.attributes["strides"], layer.attributes["dilations"]
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = (w.shape[2] - 1) * dh + 1, (w.shape[3] - 1) * dw + 1
    out = [(padded.shape[2 + i] - reach[i]) // (sh, sw)[i] + 1 for i in range(2)]
    y = np.zeros((x.shape[0], w.shape[0], *out), np.int64)
    for r, c in np.ndindex(*out):
        window = padded[:, :, r * sh : r * sh + reach[0] : dh, c * sw : c * sw + reach[1] : dw]
        y[:, :, r, c] = np.einsum("nikl,oikl->no", window, w.astype(np.int64))
    return y


@pytest.mark.parametrize("seed", range(12))
def test_convolve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, strides, dilations = (tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(3))
    pads = tuple(int(v) for v in rng.integers(0, 3, 4))
    channels, outputs = (int(v) for v in rng.integers(1, 9, 2))
    x = rng.integers(-128, 128, (2, channels, 12, 11)).astype(np.int8)
    w = rng.integers(-127, 128, (outputs, channels, *kernel)).astype(np.int8)
    attributes = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    layer = Layer("c", "conv", ("x",), "y", attributes)
    assert np.array_equal(convolve(x, w, layer), loops(x, w, layer))


@pytest.mark.parametrize("seed", range(4))
def test_depthwise(seed: int) -> None:
    """The same as a convolution whose weights between different channels are 0."""
    rng = np.random.default_rng(seed)
    kernel, strides, dilations = (tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(3))
    x = rng.integers(-128, 128, (2, 7, 12, 11)).astype(np.int8)
    w = rng.integers(-127, 128, (7, 1, *kernel)).astype(np.int8)
    attributes = {"kernel": kernel, "strides": strides, "pads": (1, 0, 0, 2), "dilations": dilations}
    layer = Layer("c", "conv", ("x",), "y", attributes)
    whole = np.zeros((7, 7, *kernel), np.int8)
    whole[np.arange(7), np.arange(7)] = w[:, 0]
    assert np.array_equal(convolve(x, w, layer), loops(x, whole, layer))


@pytest.mark.parametrize(("groups", "depth", "outputs"), [(2, 3, 5), (3, 1, 2), (4, 2, 1), (6, 1, 1)])
def test_groups(groups: int, depth: int, outputs: int) -> None:
    """The same as a convolution whose weights between different groups are 0."""
    rng = np.random.default_rng(groups)
    kernel, channels = (3, 2), groups * depth
    x = rng.integers(-128, 128, (2, channels, 9, 8)).astype(np.int8)
    w = rng.integers(-127, 128, (groups * outputs, depth, *kernel)).astype(np.int8)
    attributes = {"kernel": kernel, "strides": (2, 1), "pads": (1, 0, 0, 2), "dilations": (1, 2)}
    whole = np.zeros((groups * outputs, channels, *kernel), np.int8)
    for group in range(groups):
        outs, ins = (slice(group * size, (group + 1) * size) for size in (outputs, depth))
        whole[outs, ins] = w[outs]
    layer = Layer("c", "conv", ("x",), "y", attributes)
    assert np.array_equal(convolve(x, w, layer), loops(x, whole, layer))


def test_large_sums_are_exact() -> None:
    x, w = np.full((1, 2048, 3, 3), -128, np.int8), np.full((1, 2048, 3, 3), 127, np.int8)
    attributes = {"kernel": (3, 3), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    assert convolve(x, w, Layer("c", "conv", ("x",), "y", attributes)).item() == -128 * 127 * 2048 * 9
