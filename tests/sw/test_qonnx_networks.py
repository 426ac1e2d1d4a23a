"""QONNX: networks of 4, 2 and 1 bit as integer layers, bit by bit what QONNX's definitions and executor say."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from foreign_models import DATA, compare
from qonnx_models import QonnxBuilder, evaluate
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.random_configs import named_configs
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import Compilation, compile


def run(model: onnx.ModelProto, preset: str, x: np.ndarray) -> tuple[Program, np.ndarray]:
    """The program and its output; the functional simulator must equal the integer reference."""
    cfg = load_preset(preset)
    program = compile(model, cfg)
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({program.inputs[0]: x}, check=True)[program.outputs[0]]
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    return program, found


def network(bits: int, seed: int = 0) -> onnx.ModelProto:
    """Convolution, pooling, another one and two dense layers, with BatchNormalization behind each."""
    net = QonnxBuilder(seed, (1, 3, 8, 8))

    def activation(x: str, name: str) -> str:
        if bits == 1:
            return net.node("BipolarQuant", [x, net.constant(0.5)], name)
        return net.quant(net.node("Relu", [x], f"{name}_relu"), name, bits, 0.5, signed=0)

    x = activation("x", "q0")
    x = net.node("Conv", [x, net.weight("w1", (12, 3, 3, 3), bits)], "conv1")
    x = activation(net.normalization(x, "bn1", 12, 1.0), "q1")
    x = net.node("MaxPool", [x], "maxpool", kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Conv", [x, net.weight("w2", (9, 12, 3, 3), bits, np.full((9, 1, 1, 1), 0.5))], "conv2")
    x = activation(net.normalization(x, "bn2", 9, 2.0), "q2")
    x = net.node("Flatten", [x], "flat")
    x = net.node("MatMul", [x, net.node("Transpose", [net.weight("w3", (10, 9), bits)], "wt", perm=[1, 0])], "dense1")
    x = activation(net.normalization(x, "bn3", 10, 1.0), "q3")
    net.node("Gemm", [x, net.weight("w4", (5, 10), bits)], "dense2", transB=1)
    return net.model("dense2", (1, 5))


@pytest.mark.parametrize(
    ("bits", "preset"), [(4, "int4"), (2, "int2"), (1, "int1"), (1, "int2"), (4, "tiny"), (2, "w4a8"), (1, "pynq-z1")]
)
def test_widths(bits: int, preset: str) -> None:
    """All layers but the last, which makes real numbers, run on a configuration of the network's width or wider."""
    model = network(bits)
    x = np.random.default_rng(1).normal(0, 1, (6, 3, 8, 8)).astype(np.float32)
    program, found = run(model, preset, x)
    assert {"conv1", "conv2", "dense1"} <= {layer.name for layer in program.layers}, program.offload
    assert "QuantizeLinear" in program.offload["dense2"]
    expected = np.concatenate([evaluate(model, image[None]) for image in x])
    assert np.array_equal(found, expected)
    alone = Executor(program, cpu=Evaluator.NUMPY).run({"x": x})["dense2"]
    assert np.array_equal(alone, expected), "a board without onnxruntime"


@pytest.mark.parametrize(("bits", "name"), [(2, "x-int2"), (1, "x-int1")])
def test_on_the_rtl(bits: int, name: str) -> None:
    """A whole network of 2 and of 1 bit; those of 8 and 4 bits are run there by the tests of operators."""
    model, cfg = network(bits), named_configs()[name]
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    with RtlDevice(cfg) as device:
        executor = Executor(compile(model, cfg), device)
        found = executor.run({"x": x}, check=True)["dense2"]
    assert len(executor.program.layers) == 3
    assert executor.report.mismatches == 0
    assert np.array_equal(found, np.concatenate([evaluate(model, image[None]) for image in x]))


def test_scalings_between_layers_cost_nothing() -> None:
    """What a layer reads through is no reader of its own on the CPU: only the last layer's output leaves."""
    compilation = Compilation(network(1), load_preset("int1"), predict=True)
    compilation.run()
    assert compilation.placement is not None
    made = {layer.name: layer.output.name for layer in compilation.layers}
    leaving = [item.tensor for item in compilation.placement.crossings if not item.to_accelerator]
    assert made["dense1"] in leaving
    assert made["conv1"] not in leaving


def test_narrow_hardware_says_why() -> None:
    """4 bits do not fit 2: the layers stay on the CPU, with the same results."""
    model = network(4)
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    program, found = run(model, "int2", x)
    assert "configuration int2 holds" in program.offload["conv1"]
    assert np.array_equal(found, np.concatenate([evaluate(model, image[None]) for image in x]))


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (0.3, {"signed": 1}),
        (0.3, {"signed": 1, "narrow": 1}),
        (0.7, {"signed": 0, "zero": 4.0}),
        (0.7, {"signed": 0, "zero": 3.0}),
        (0.5, {"signed": 1, "rounding_mode": "FLOOR"}),
        (0.5, {"signed": 0, "rounding_mode": "CEIL"}),
        (np.linspace(0.2, 0.9, 3).reshape(1, 3, 1, 1), {"signed": 1}),
    ],
)
@pytest.mark.parametrize("bits", [3, 8, 12])
def test_quant(scale: float | np.ndarray, options: dict[str, float], bits: int) -> None:
    """Every form of Quant, on values that lie halfway too."""
    net = QonnxBuilder(0, (1, 3, 4, 64))
    model = net.model(net.quant("x", "y", bits, scale, **options), (1, 3, 4, 64))
    x = (np.arange(-384, 384).reshape(1, 3, 4, 64) / 4 * np.asarray(scale)).astype(np.float32)
    _, found = run(model, "tiny", x)
    assert np.array_equal(found, evaluate(model, x))


def test_trunc() -> None:
    """Trunc behind an average runs in float, as it is defined."""
    net = QonnxBuilder(0, (1, 3, 4, 4))
    x = net.quant("x", "q", 4, 0.5, signed=0)
    x = net.node("AveragePool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    settings = [net.constant(value) for value in (0.125, 0.0, 6.0, 4.0)]
    model = net.model(net.node("Trunc", [x, *settings], "y", rounding_mode="FLOOR"), (1, 3, 2, 2))
    data = np.random.default_rng(1).uniform(-1, 9, (1, 3, 4, 4)).astype(np.float32)
    _, found = run(model, "tiny", data)
    assert np.array_equal(found, evaluate(model, data))


def test_no_line_is_refused() -> None:
    """What no scale and offset can do stays on the CPU, and the number of sums that differ says so."""
    net = QonnxBuilder(0, (1, 3, 4, 4))
    x = net.quant("x", "q", 4, 0.5)
    x = net.node("Conv", [x, net.weight("w", (8, 3, 1, 1), 4)], "conv")
    x = net.node("Abs", [x], "abs")
    model = net.model(net.quant(x, "y", 4, 0.5), (1, 8, 4, 4))
    data = np.random.default_rng(1).normal(0, 2, (1, 3, 4, 4)).astype(np.float32)
    program, found = run(model, "int4", data)
    assert "would be rounded otherwise" in program.offload["conv"]
    assert np.array_equal(found, evaluate(model, data))


@pytest.mark.parametrize(
    ("name", "preset"), [("TFC_2W2A", "int2"), ("TFC_1W1A", "int1"), ("TFC_1W1A", "int2"), ("TFC_2W2A", "pynq-z1")]
)
def test_tfc(name: str, preset: str) -> None:
    """Three of four layers on the accelerator; the outputs are the qonnx executor's, bit by bit."""
    if not (DATA / f"{name}.onnx").exists():
        pytest.skip(f"{name}.onnx is not beside the project")
    golden = np.load(DATA / "tfc_golden_200.npz")
    x = golden["x"].astype(np.float32).reshape(-1, 1, 28, 28)
    program, found = run(onnx.load(DATA / f"{name}.onnx"), preset, x)
    assert len(program.layers) == 3, program.offload
    assert np.array_equal(found.reshape(-1), golden[name].reshape(-1))


def test_binary_vgg() -> None:
    """Thresholds of a network in standard ONNX are bits: all layers but the first and last run on 1 bit."""
    path = DATA / "cnvW1A1_cifar10_std.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    x = np.load(DATA / "cifar10_test_cnv.npz")["x"][:1].astype(np.float32)
    found = compare(path, load_preset("int1"), {"input": x})
    assert len(found.layers) == 7, found.on_cpu
    assert np.array_equal(found.found["logits"], found.expected["logits"])
