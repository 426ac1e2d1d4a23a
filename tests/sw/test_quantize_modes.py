"""Each way to calibrate, to round and to prepare a network, and what a simulated network is worth."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from quantized_networks import images, run, small_network
from vta_arch.presets import load_preset
from vta_sw.frontend import prepare
from vta_sw.frontend.graph import Graph
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import (
    CalibrateMode,
    QConfig,
    Quantization,
    Rounding,
    WeightScale,
    any_scale,
    quantize_with_report,
)
from vta_sw.quantize.activation_scales import clip_limit, kl_limit, percentile
from vta_sw.quantize.adaround import fit_rounding
from vta_sw.quantize.calibrate import TensorStats
from vta_sw.quantize.equalize import equalize
from vta_sw.quantize.scales import round_weights
from vta_sw.quantize.sequential import in_turn
from vta_sw.quantize.types import IntType
from vta_sw.quantize.unfolding import Windows
from vta_sw.quantize.weights import Rounded

CONFIGS = ["tiny", "pynq-z1", "int4", "w4a8"]
LEAST_DB = {"tiny": 20.0, "pynq-z1": 20.0, "w4a8": 8.0, "int4": 4.0}


def made(name: str, config: QConfig, count: int = 48) -> Quantization:
    return quantize_with_report(small_network(), load_preset(name), images(count), config=config)


def distance_db(done: Quantization) -> float:
    x = images(32, seed=2)
    expected, found = run(small_network(), x), run(done.model, x)
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("mode", [mode for mode in CalibrateMode if mode is not CalibrateMode.GLOBAL_SCALE])
def test_every_mode_calibrates(mode: CalibrateMode, name: str) -> None:
    assert distance_db(made(name, QConfig(calibrate_mode=mode))) > LEAST_DB[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_global_scale(name: str) -> None:
    """Every activation reaches as far as was said: 8, with the greatest integer."""
    config = QConfig(calibrate_mode=CalibrateMode.GLOBAL_SCALE, global_scale=8.0)
    done = made(name, config)
    outputs = {layer.output for layer in done.report.layers if layer.op_type != "Add"}
    moved = {tensor for layer in done.report.layers if layer.op_type == "Add" for tensor in layer.inputs}
    for tensor in outputs - moved:
        root = done.annotation.groups[tensor]
        if root not in moved:
            assert done.scales[root] == pytest.approx(8.0 / done.kinds.activations[root].high)


def statistics(values: np.ndarray) -> TensorStats:
    stats = TensorStats()
    stats.add(values.reshape(-1, 1).astype(np.float32))
    return stats


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9])
def test_percentile_is_numpys(percent: float) -> None:
    values = np.random.default_rng(0).lognormal(size=100_000)
    values = values[values < 16]
    expected = np.percentile(values, percent)
    assert percentile(statistics(values), percent) == pytest.approx(expected, abs=0.02)


def test_minmax_is_the_largest() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    limit = clip_limit(statistics(values), IntType(8, True), CalibrateMode.MINMAX, 0.0)
    assert limit == pytest.approx(np.abs(values).max())


@pytest.mark.parametrize("bits", [4, 8])
def test_kl_divergence_clips_what_is_rare(bits: int) -> None:
    """Far values that nothing lies near are clipped; values that fill their range are not."""
    rng = np.random.default_rng(0)
    far = np.append(rng.normal(size=50_000), [200.0])
    assert kl_limit(statistics(far), IntType(bits, True)) < 20
    even = rng.uniform(0, 1, size=50_000)
    assert kl_limit(statistics(even), IntType(bits, False)) > 0.9


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "w4a8"])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_rounding(rounding: Rounding, name: str) -> None:
    """Integers next to the float weight; stochastic ones by seed."""
    config = QConfig(rounding=rounding, rounding_steps=40)
    done = made(name, config)
    floats = Graph(done.prepared)
    for layer in done.annotation.layers:
        if layer.weight is None:
            continue
        weight, quant = floats.array(layer.weight), done.weights[layer.name]
        assert weight is not None
        steps = weight / quant.scales.reshape(-1, *(1,) * (weight.ndim - 1))
        high = done.kinds.weights[layer.name].high
        away = np.abs(np.clip(steps, -high, high) - quant.values)
        most = {Rounding.NEAREST: 0.5, Rounding.SEQUENTIAL: 2.0}.get(rounding, 1.0)
        assert away.max() <= most + 1e-3
    if name == "w4a8":
        assert done.model.SerializeToString() == made(name, config).model.SerializeToString()
    assert distance_db(done) > LEAST_DB[name] - 3


def test_stochastic_rounding_is_right_on_average() -> None:
    seeds = [made("w4a8", QConfig(rounding=Rounding.STOCHASTIC, seed=seed), 4).weights["conv2"] for seed in range(24)]
    mean = np.mean([quant.values * quant.scales[:, None, None, None] for quant in seeds], axis=0)
    weight = Graph(prepare(small_network())).array("conv2.weight")
    assert weight is not None
    step = seeds[0].scales.max()
    inside = np.abs(weight) < 6.5 * seeds[0].scales[:, None, None, None]
    assert np.abs(mean - weight)[inside].mean() < 0.15 * step
    assert len({quant.values.tobytes() for quant in seeds}) == len(seeds)


def test_rounding_in_turn_makes_up_for_errors() -> None:
    """On inputs that depend on each other; two groups, which do not share their inputs."""
    rng, limits = np.random.default_rng(0), (-7, 7)
    flat, x = rng.normal(size=(6, 24)), rng.normal(size=(2, 1000, 4)) @ rng.normal(size=(2, 4, 24))
    x = (x + 0.2 * rng.normal(size=x.shape)).astype(np.float32)
    scales = any_scale.search_weight_scales(flat, limits)
    found = in_turn(flat, limits, Windows(x, np.zeros((2, 1000, 3), np.float32)))(scales)
    assert np.abs(found.integers).max() <= limits[1]
    away = [integers * scales[:, None] - flat for integers in (found.integers, round_weights(flat, scales, limits))]
    errors = [((x @ part.reshape(2, 3, 24).transpose(0, 2, 1)) ** 2).mean() for part in away]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("name", ["int4", "w4a8", "int2"])
def test_fitted_rounding_is_nearer_to_float(name: str) -> None:
    nearest = made(name, QConfig(bias_correction=False), 64)
    fitted = made(name, QConfig(bias_correction=False, rounding=Rounding.ADAROUND), 64)
    assert distance_db(fitted) > distance_db(nearest) + 1


@pytest.mark.parametrize("free", [False, True])
def test_two_bits_fitted_are_nearer_to_float_than_rounded(free: bool) -> None:
    """A layer with and without scales of its own choice, on inputs that depend on each other."""
    rng, limits = np.random.default_rng(0), (-2, 1)
    flat, mixed = rng.normal(size=(6, 40)), rng.normal(size=(1, 3000, 40)) @ rng.normal(size=(40, 40)) / 6
    x = np.maximum(mixed, 0).astype(np.float32)
    windows = Windows(x, np.maximum(x @ flat.T.astype(np.float32), 0))
    scales, bias = any_scale.search_weight_scales(flat, limits), np.zeros(6)
    found = fit_rounding(flat, bias, scales, limits, windows, bounds=(0, np.inf), steps=200, free=free, rng=rng)
    assert (found.integers.min(), found.integers.max()) == limits
    assert np.array_equal(found.scales, scales) is not free
    errors = [
        ((np.maximum(x[0] @ (one.integers * one.scales[:, None]).T + one.bias, 0) - windows.outputs[0]) ** 2).mean()
        for one in (found, Rounded(round_weights(flat, scales, limits), scales))
    ]
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize(("name", "bits"), [("w4a8", 2), ("pynq-z1", 4), ("w4a8", 4), ("int2", 2)])
def test_only_the_scratchpads_own_least_weight_is_never_used(name: str, bits: int) -> None:
    done, cfg = made(name, QConfig(nbit_weight=bits)), load_preset(name)
    least = min(int(quant.values.min()) for layer, quant in done.weights.items() if layer not in ("conv1", "fc"))
    assert least == -(1 << (bits - 1)) + (bits == cfg.wgt_width)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_bias_correction_moves_the_mean_towards_float(name: str) -> None:
    x, expected = images(48), run(small_network(), images(48))
    errors = [
        np.abs((run(made(name, QConfig(bias_correction=how)).model, x) - expected).mean(axis=0)).mean()
        for how in (False, True)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("scale", list(WeightScale))
def test_weight_scales(scale: WeightScale) -> None:
    done = made("w4a8", QConfig(weight_scale=scale))
    weight = Graph(done.prepared).array("conv3.weight")
    assert weight is not None
    found = done.weights["conv3"].scales
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 7
    if scale is WeightScale.POWER2:
        np.testing.assert_array_equal(np.frexp(found)[0], 0.5)
    elif scale is WeightScale.MAX:
        np.testing.assert_allclose(found, largest, rtol=1e-6)
    else:
        assert np.all(found <= largest * (1 + 1e-6))


def uneven_network() -> onnx.ModelProto:
    """Convolutions in a row whose channels differ by two orders of magnitude, one of them depthwise."""
    net = NetworkBuilder("uneven", 3, (3, 8, 8))
    out = net.relu("relu1", net.conv("conv1", "input", 8, 3, bias=True))
    out = net.relu("relu2", net.conv("deep", out, 8, 3, group=8, bias=True))
    model = net.model(net.conv("conv2", out, 4, 1, bias=True))
    gains = np.geomspace(0.1, 10, 8).astype(np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in ("conv1.weight", "conv1.bias"):
            values = onnx.numpy_helper.to_array(tensor)
            scaled = values * gains.reshape(-1, *(1,) * (values.ndim - 1))
            tensor.CopyFrom(onnx.numpy_helper.from_array(scaled, tensor.name))
    return model


def test_equalization_keeps_the_function() -> None:
    model, x = prepare(uneven_network()), np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    name = model.graph.output[0].name
    even = equalize(Graph(model))
    np.testing.assert_allclose(run(even, x, name), run(prepare(uneven_network()), x, name), rtol=1e-3, atol=1e-3)
    before, after = (
        np.abs(Graph(which).array("conv1.weight")).reshape(8, -1).max(axis=1)  # type: ignore[union-attr]
        for which in (prepare(uneven_network()), even)
    )
    assert np.ptp(np.log(after)) < 0.5 * np.ptp(np.log(before))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("equalized", [False, True])
def test_simulation_is_the_realized_network(name: str, equalized: bool) -> None:
    """SimQuantize nodes compute what QuantizeLinear and DequantizeLinear do, up to float rounding."""
    config = QConfig(equalize=equalized)
    real = made(name, config)
    simulated = made(name, QConfig(equalize=equalized, do_simulation=True))
    onnx.checker.check_model(simulated.model)
    assert not any("QuantizeLinear" in node.op_type for node in simulated.model.graph.node)
    assert set(simulated.report.tensor_types) == {"float"}
    x = images(16, seed=5)
    step = real.report.layers[-1].output_scale
    away = np.abs(run(simulated.model, x) - run(real.model, x)) / step
    # A value next to a tie may round to the other side, and what follows move by a step.
    assert np.mean(away > 0.01) < 0.05
    assert away.max() < 3


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_prefix_noise_is_that_of_the_file(name: str) -> None:
    """The report's distance of the last layer, over the calibration data, is that of the written network."""
    done = made(name, QConfig(), 16)
    expected, found = run(small_network(), images()), run(done.model, images())
    distance = 10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum())
    assert done.report.layers[-1].prefix_snr_db == pytest.approx(distance, abs=0.5)
    assert all(layer.prefix_snr_db < layer.output_snr_db + 1 for layer in done.report.layers)
    assert done.report.types_before == {"float": done.report.types_before["float"]}
