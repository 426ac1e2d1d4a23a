"""8-bit activations of uneven range: their zero points, and what these bring."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from quantized_networks import images, run, small_network
from vta_arch.presets import load_preset
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.quantize import (
    CalibrateMode,
    IntType,
    LayerOverride,
    Overrides,
    PartitionConversions,
    QConfig,
    TensorStats,
    any_scale,
    quantize_with_report,
)
from vta_sw.quantize.scales import saturated_share


def uneven(count: int = 16, seed: int = 1) -> np.ndarray:
    """Inputs far below 0, and a little above."""
    x = images(count, seed)
    return np.where(x > 0, x, 6 * x).astype(np.float32)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "w4a8", "int4"])
def test_uneven_inputs_use_the_whole_type(name: str) -> None:
    """The program equals the reference, and the network is nearer to float than without zero points."""
    cfg, x = load_preset(name), uneven()
    done = quantize_with_report(small_network(), cfg, x)
    kind, stats = done.kinds.activations["input"], done.stats["input"]
    assert kind.zero > 30
    step = (stats.high - stats.low) / 255
    assert done.scales["input"] <= 1.01 * step
    assert done.report.layers[0].input_zero_points == (kind.zero,)
    executor = Executor(compile(done.model, cfg), FunctionalDevice(cfg))
    executor.run({"input": x[:3]}, check=True)
    assert executor.report.mismatches == 0
    plain = quantize_with_report(small_network(), cfg, x, config=QConfig(dtype_input=f"int{cfg.inp_width}"))
    assert not any(kind.zero for kind in plain.kinds.activations.values())
    expected, fresh = run(done.prepared, uneven(64, 5)), uneven(64, 5)
    errors = [float(((run(made.model, fresh) - expected) ** 2).sum()) for made in (done, plain)]
    assert errors[0] < errors[1]


LEFT_OUT = {
    "bare integers": ("tiny", QConfig(edge_bits=None, partition_conversions=PartitionConversions.FULLY_INTEGRAL)),
    "magnitudes": ("tiny", QConfig(calibrate_mode=CalibrateMode.PERCENTILE)),
    "powers of two": ("shift", QConfig()),
    "no pad value": ("classic", QConfig()),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_where_zero_points_have_no_place(case: str) -> None:
    name, config = LEFT_OUT[case]
    tiny = load_preset("tiny")
    cfg = dataclasses.replace(tiny, extensions=tiny.extensions - {"requant"}) if name == "shift" else load_preset(name)
    done = quantize_with_report(small_network(), cfg, uneven(), config=config)
    assert not any(kind.zero for kind in done.kinds.activations.values())


def test_a_layers_own_mode_decides_about_its_output() -> None:
    override = Overrides((("fc", LayerOverride(calibrate_mode="kl_divergence")),))
    kinds = [
        quantize_with_report(small_network(), load_preset("tiny"), uneven(), config=QConfig(overrides=overrides)).kinds
        for overrides in (Overrides(), override)
    ]
    assert kinds[1].activations["output"].zero == 0
    assert kinds[1].activations["input"] == kinds[0].activations["input"]


def test_scales_of_a_type_with_zero_point_span_its_range() -> None:
    stats = TensorStats()
    stats.add(np.linspace(-6, 1, 1000, dtype=np.float32))
    kind = IntType(8, True, 91)
    assert (kind.low, kind.high) == (-219, 36)
    scale = any_scale.search_activation_scale(stats, kind)
    assert scale == pytest.approx(7 / 255, rel=0.02)
    assert saturated_share(stats, scale, kind) < 0.01
    assert saturated_share(stats, scale / 2, kind) == pytest.approx(0.5, abs=0.02)
