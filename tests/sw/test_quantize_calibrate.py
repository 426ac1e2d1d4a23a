"""Histograms and scales against plain numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from vta_arch.presets import load_preset
from vta_sw.frontend.graph import Graph
from vta_sw.quantize import Annotation, LayerPlan, TensorStats, any_scale
from vta_sw.quantize.power_of_two import ceiling_exponent, search_activation_scale, search_weight_scales
from vta_sw.quantize.realize import pack_tensor
from vta_sw.quantize.scales import round_weights, saturated_share
from vta_sw.quantize.types import IntType

INT8, UINT8, INT4, INT2 = IntType(8, True), IntType(8, False), IntType(4, True), IntType(2, True)


def error(values: np.ndarray, scale: float, kind: IntType, power: int = 2) -> float:
    found = np.clip(np.floor(values / scale + 0.5), kind.low, kind.high) * scale
    return float((np.abs(found - values) ** power).mean())


@pytest.mark.parametrize("kind", [INT8, UINT8, INT4, INT2], ids=str)
@pytest.mark.parametrize("shape", ["normal", "relu", "outlier"])
def test_the_scale_found_is_the_best_there_is(kind: IntType, shape: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=20_000) * 3.7
    if shape == "relu" or not kind.signed:
        values = np.maximum(values, 0)
    if shape == "outlier":
        values[0] = 40.0
    stats = TensorStats()
    for part in np.array_split(values, 7):
        stats.add(part.astype(np.float32).reshape(-1, 1))
    found = search_activation_scale(stats, kind)
    assert error(values, found, kind) <= 1.02 * min(error(values, 2.0**e, kind) for e in range(-12, 12))
    finer = any_scale.search_activation_scale(stats, kind)
    tried = np.geomspace(1e-4, 20, 400)
    power = 3 if kind.bits == 8 else 2
    assert error(values, finer, kind, power) <= 1.1 * min(error(values, scale, kind, power) for scale in tried)


def test_the_order_of_batches_does_not_matter() -> None:
    values = np.random.default_rng(1).lognormal(size=(4, 5, 100)).astype(np.float32)
    parts = [np.sort(values.reshape(-1))[::-1].reshape(20, 100), np.sort(values.reshape(-1)).reshape(20, 100)]
    stats = [TensorStats(), TensorStats()]
    for one, ordered in zip(stats, parts, strict=True):
        for part in np.split(ordered, 20):
            one.add(part)
    assert stats[0].log_range == stats[1].log_range
    assert stats[0].counts.sum() == stats[1].counts.sum() == values.size
    np.testing.assert_array_equal(stats[0].counts, stats[1].counts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        TensorStats().add(np.array([[1.0, bad]], dtype=np.float32))


def test_saturation_is_counted() -> None:
    stats = TensorStats()
    stats.add(np.array([[0.5] * 90 + [100.0] * 10], dtype=np.float32))
    assert saturated_share(stats, 2.0**-7, INT8) == pytest.approx(0.1)
    assert saturated_share(stats, 1.0, INT8) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-20, 1e20), st.sampled_from([1, 3, 7, 15, 127, 255]))
def test_ceiling_exponent(largest: float, levels: int) -> None:
    exponent = ceiling_exponent(largest, levels)
    assert largest <= levels * 2.0**exponent
    assert largest > levels * 2.0 ** (exponent - 1)


FLAT = np.random.default_rng(3).normal(size=(6, 200)) * np.array([[1e-6], [0.1], [1], [7], [1e4], [0]])


def loss(row: np.ndarray, scale: float, limit: int) -> float:
    rounded = round_weights(row[None], np.array([scale]), (-limit, limit))[0]
    assert np.abs(rounded).max() <= limit
    return float(((rounded * scale - row) ** 2).sum())


@pytest.mark.parametrize("limit", [127, 7, 1])
def test_power_of_two_weight_scales_are_the_best(limit: int) -> None:
    found = search_weight_scales(FLAT, (-limit, limit))
    for row, scale in zip(FLAT[:-1], found[:-1], strict=True):
        assert loss(row, scale, limit) == min(loss(row, scale * 2.0**e, limit) for e in range(-8, 8))
    assert found[-1] == 1


@pytest.mark.parametrize("limit", [127, 7, 1])
def test_weight_scales_are_as_good_as_any(limit: int) -> None:
    found = any_scale.search_weight_scales(FLAT, (-limit, limit))
    assert np.all(found == np.float32(found))
    for row, scale in zip(FLAT[:-1], found[:-1], strict=True):
        widest = np.abs(row).max() / limit
        if limit == 127:
            assert scale == np.float32(widest)
        else:
            assert loss(row, scale, limit) <= 1.03 * min(
                loss(row, widest * part, limit) for part in np.arange(0.1, 1, 0.01)
            )
    assert found[-1] == 1


@pytest.mark.parametrize(("name", "most", "moved"), [("pynq-z1", 127, 0.004), ("w4a8", 63, 0.008), ("int4", 7, 0.13)])
def test_scales_of_additions_become_ratios_of_integers(name: str, most: int, moved: float) -> None:
    rng = np.random.default_rng(5)
    cfg = load_preset(name)
    for _ in range(50):
        before = dict(zip("abcde", np.exp(rng.uniform(-0.9, 0.9, 5)), strict=True)) | {"far": 1e4}
        adds = [("a", "b", "c"), ("c", "d", "e"), ("e", "far", "a")]
        plan = Annotation(layers=[LayerPlan("".join(add), "Add", add[:2], add[2]) for add in adds])
        plan.groups = {tensor: tensor for tensor in before}
        after = dict(before)
        any_scale.align_additions(Graph(onnx.ModelProto()), plan, after, cfg, bits=cfg.inp_width)
        for left, right, _ in adds[:2]:
            ratio = Fraction(after[left] / after[right]).limit_denominator(most)
            assert ratio.numerator <= most
            assert float(ratio) == pytest.approx(after[left] / after[right], rel=1e-6)
        assert after["far"] == 1e4
        assert all(abs(after[tensor] / before[tensor] - 1) <= moved for tensor in before)


@pytest.mark.parametrize("kind", [INT8, UINT8, INT4, IntType(4, False), INT2, IntType(2, False)], ids=str)
@pytest.mark.parametrize("count", [1, 7, 64])
def test_packed_tensors_read_back(kind: IntType, count: int) -> None:
    values = np.random.default_rng(4).integers(kind.low, kind.high + 1, (1, count))
    read = numpy_helper.to_array(pack_tensor("t", values, kind))
    np.testing.assert_array_equal(read.astype(np.int64), values)
