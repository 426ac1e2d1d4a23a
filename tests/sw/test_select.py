"""Concat, Split and Slice on channels, padding and nearest resizing, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from operator_models import CONFIGS, any_scale, check, images, same_pair
from qdq_models import QdqBuilder

SHAPE = (21, 9, 8)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("same", [True, False])
def test_concat(name: str, same: bool) -> None:
    """Channel counts that are no multiples of the block; with one scale it is exact."""
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 4, any_scale=any_scale(cfg))
    parts = []
    for number, channels in enumerate((5, 16, 21)):
        part = net.input(f"x{number}", ("N", channels, 6, 7), -3)
        if same and number:
            maker, first = (next(n for n in net.nodes if n.output[0] == p) for p in (part, parts[0]))
            made = next(n for n in net.nodes if n.output[0] == maker.input[0])
            for node in (maker, made):
                del node.input[1:]
                node.input.extend(first.input[1:])
        parts.append(part)
    joined = net.node("Concat", parts, "layer", axis=1)
    y = same_pair(net, joined, parts[0]) if same else net.pair(joined, -3)
    inputs = {f"x{number}": images((c, 6, 7), seed=number) for number, c in enumerate((5, 16, 21))}
    _, apart = check(net.model(y), cfg, inputs, net.scales[y], 1)
    assert apart.max() <= (0 if same else 1)
    assert np.count_nonzero(apart) <= 1 + apart.size // 10_000


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("start", "end", "step"), [(3, 17, 1), (-8, 1000, 1), (20, -1000, -3)])
def test_slice_of_channels(name: str, start: int, end: int, step: int) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 7, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *SHAPE))
    bounds = [net.constant(f"c{i}", np.array([v], np.int64)) for i, v in enumerate((start, end, 1, step))]
    y = same_pair(net, net.node("Slice", [x, *bounds], "layer"), x)
    _, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], 1)
    assert not apart.any()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (4, 1)])
def test_nearest_resize(name: str, factors: tuple[int, int]) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 8, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *SHAPE))
    scales = net.constant("scales", np.array([1, 1, *factors], np.float32))
    y = same_pair(net, net.node("Resize", [x, "", scales], "layer", mode="nearest"), x)
    _, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], 1)
    assert not apart.any()


@pytest.mark.parametrize("name", CONFIGS)
def test_pad(name: str) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 9, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *SHAPE))
    pads = net.constant("pads", np.array([0, 0, 1, 2, 0, 0, 0, 3], np.int64))
    y = same_pair(net, net.node("Pad", [x, pads], "layer"), x)
    _, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], 1)
    assert not apart.any()


@pytest.mark.parametrize("name", CONFIGS)
def test_slice_of_positions_and_padded_channels(name: str) -> None:
    """A shortcut without weights: every second position, and channels of zeros."""
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 9, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *SHAPE))
    bounds = [np.array(values, np.int64) for values in ((1, 0), (8, 8), (2, 3), (2, 3))]
    taken = net.node("Slice", [x, *(net.constant(f"c{i}", v) for i, v in enumerate(bounds))], "slice")
    taken = same_pair(net, taken, x)
    pads = net.constant("pads", np.array([0, 5, 0, 0, 0, 2, 0, 0], np.int64))
    y = same_pair(net, net.node("Pad", [taken, pads], "pad"), x)
    _, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], 2)
    assert not apart.any()
