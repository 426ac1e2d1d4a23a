"""Inputs and weights wider than the configuration's, digit by digit on the accelerator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from qonnx_models import QonnxBuilder, evaluate
from vta_arch.presets import load_preset
from vta_arch.program import CpuStep
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.lower.digits import weight_digits
from vta_sw.placement import Offload, PlacementOptions


def network(bits: int, first: tuple[int, int], channels: int = 3, **attributes: list[int]) -> onnx.ModelProto:
    """A network of ``bits``, whose first and last layers have inputs and weights of ``first`` bits."""
    net = QonnxBuilder(3, (1, channels, 8, 8))
    x = net.quant("x", "q0", first[0], 2.0 ** (3 - first[0]))
    x = net.node("Conv", [x, net.weight("w1", (12, channels, 3, 3), first[1], 2.0 ** -first[1])], "conv1", **attributes)
    x = net.quant(net.node("Relu", [x], "relu1"), "q1", bits, 0.5, signed=0)
    x = net.node("Conv", [x, net.weight("w2", (9, 12, 3, 3), bits)], "conv2")
    x = net.node("ReduceMean", [net.quant(x, "q2", 8, 0.125)], "mean", axes=[2, 3], keepdims=0)
    x = net.quant(x, "q3", first[0], 2.0 ** (5 - first[0]))
    x = net.node("MatMul", [x, net.node("Transpose", [net.weight("w3", (10, 9), first[1], 0.125)], "wt")], "dense")
    return net.model(net.quant(x, "y", bits, 2.0), (1, 10))


CASES = [
    ("int4", 4, (8, 4)),
    ("int4", 4, (8, 8)),
    ("int2", 2, (8, 2)),
    ("int2", 2, (4, 4)),
    ("w4a8", 4, (8, 8)),
    ("int4", 4, (4, 8)),
]


@pytest.mark.parametrize(("preset", "bits", "first"), CASES)
def test_first_and_last_layer(preset: str, bits: int, first: tuple[int, int]) -> None:
    """They run on the accelerator, equal to the reference and to the network's definition."""
    model, cfg = network(bits, first, pads=[1, 1, 1, 1]), load_preset(preset)
    program = compile(model, cfg)
    assert {"conv1", "dense"} <= {layer.name for layer in program.layers}, program.offload
    x = np.random.default_rng(1).normal(0, 2, (4, 3, 8, 8)).astype(np.float32)
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    assert np.array_equal(found, np.concatenate([evaluate(model, image[None]) for image in x]))


def test_placement() -> None:
    """The CPU's work for the digits counts: a layer that stays on the CPU has none."""
    model, cfg = network(4, (8, 4), pads=[1, 1, 1, 1]), load_preset("int4")
    for offload in (Offload.AUTO, Offload.NONE):
        program = compile(model, cfg, placement=PlacementOptions(offload=offload))
        steps = [name for step in program.steps if isinstance(step, CpuStep) for name in step.nodes]
        layers = {layer.name for layer in program.layers}
        assert any(name.startswith("conv1/digits") for name in steps) == ("conv1" in layers)


def test_many_channels() -> None:
    """Digits of 70 channels lie in several blocks; strides and no padding."""
    model, cfg = network(4, (8, 8), 70, strides=[2, 2]), load_preset("int4")
    program = compile(model, cfg)
    assert "conv1" in {layer.name for layer in program.layers}, program.offload
    executor = Executor(program, FunctionalDevice(cfg))
    x = np.random.default_rng(1).normal(0, 2, (2, 70, 8, 8)).astype(np.float32)
    found = executor.run({"x": x}, check=True)["y"]
    assert executor.report.mismatches == 0
    assert np.array_equal(found, np.concatenate([evaluate(model, image[None]) for image in x]))


def test_one_bit_has_no_digits() -> None:
    """A weight of 1 bit cannot be 0, so it knows no powers of two: the layer stays on the CPU and says what is wide."""
    net = QonnxBuilder(0, (1, 3, 4, 4))
    x = net.node("Conv", [net.quant("x", "q", 8, 0.125), net.weight("w", (8, 3, 1, 1), 1)], "conv")
    model = net.model(net.node("BipolarQuant", [x, net.constant(1.0)], "y"), (1, 8, 4, 4))
    program = compile(model, load_preset("int1"))
    assert not program.layers
    assert "configuration int1 holds 0 to 1" in program.offload["conv"]


@pytest.mark.parametrize("preset", ["int4", "int2", "w4a8"])
def test_weight_digits(preset: str) -> None:
    cfg = load_preset(preset)
    weight = np.arange(-5000, 5000).reshape(1, -1, 1, 1)
    digits = weight_digits(cfg, weight)
    assert all(digit.min() >= cfg.wgt_min and digit.max() <= cfg.wgt_max for digit in digits)
    assert np.array_equal(sum(digit << cfg.wgt_width * k for k, digit in enumerate(digits)), weight)
