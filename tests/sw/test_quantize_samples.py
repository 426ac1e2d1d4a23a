"""Calibration data that come batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from quantized_networks import images, small_network
from vta_arch.errors import DataError
from vta_arch.presets import load_preset
from vta_sw.quantize import quantize


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_batches_one_after_the_other_make_the_same_file(name: str) -> None:
    cfg, x = load_preset(name), images(50)

    def parts(size: int) -> Iterator[np.ndarray]:
        yield from (x[at : at + size] for at in range(0, len(x), size))

    expected = quantize(small_network(), cfg, x).SerializeToString()
    for size in (50, 7, 1):
        assert quantize(small_network(), cfg, parts(size)).SerializeToString() == expected
    assert quantize(small_network(), cfg, [{"input": x[:20]}, {"input": x[20:]}]).SerializeToString() == expected


def test_an_iterable_is_gone_through_once_and_forgotten() -> None:
    living = 0

    class Batch(np.ndarray):
        def __del__(self) -> None:
            nonlocal living
            living -= 1

    def parts() -> Iterator[np.ndarray]:
        nonlocal living
        for seed in range(12):
            living += 1
            assert living <= 3
            yield np.random.default_rng(seed).normal(size=(64, 3, 12, 12)).astype(np.float32).view(Batch)

    seen: list[tuple[str, int, int]] = []
    quantize(small_network(), load_preset("tiny"), parts(), progress=lambda *step: seen.append(step))
    assert ("calibrate", 12 * 64, 0) in seen


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ([], "no batch"),
        ([np.zeros((2, 3, 9, 12))], "shape [2, 3, 9, 12]"),
        ([images(2), np.full((1, 3, 12, 12), np.nan)], "NaN"),
        ([(images(2), [1, 2])], "is no array"),
        ([{"data": images(2)}], "no array for input 'input'"),
    ],
)
def test_bad_batches_get_one_line(bad: list[object], named: str) -> None:
    with pytest.raises(DataError) as caught:
        quantize(small_network(), load_preset("tiny"), bad)  # type: ignore[arg-type]
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
