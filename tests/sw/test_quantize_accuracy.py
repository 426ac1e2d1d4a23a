"""Real networks on real labelled data: what quantization costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from vta_arch.presets import load_preset
from vta_sw.frontend import open_session, prepare, run_session
from vta_sw.quantize import quantize

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks and their data are not on this machine")


def load(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(DATA / name) as arrays:
        return arrays["x"][:count].astype(np.float32), arrays["y"][:count]


def top1(model: ModelProto, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of the images that the network classifies as labelled."""
    session, (name, output) = open_session(model, exact=True), (model.graph.input[0].name, model.graph.output[0].name)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 100
    found = [run_session(session, [output], {name: x[i : i + batch]})[0].argmax(1) for i in range(0, len(x), batch)]
    return 100.0 * float((np.concatenate(found) == y).mean())


def test_resnet20_loses_at_most_half_a_point() -> None:
    calibration, _ = load("cifar10_calibration_resnet20.npz", 512)
    x, y = load("cifar10_test_resnet20.npz", 1000)
    model = quantize(DATA / "resnet20.onnx", load_preset("pynq-z1"), calibration)
    assert top1(model, x, y) >= 91.5 - 0.5


CASES = [
    # network, calibration, test images, most points lost over 120 images
    ("resnet8_float.onnx", "cifar10_calibration_u8.npz", "cifar10_test_u8.npz", 2.0),
    ("mnist_cntk.onnx", "mnist_calibration_u8.npz", "mnist_test_u8.npz", 0.5),
    ("dscnn_kws_float.onnx", "kws_test_400.npz", "kws_test_400.npz", 2.0),
    ("resnet20_torchexport.onnx", "cifar10_calibration_resnet20.npz", "cifar10_test_resnet20.npz", 2.0),
    ("cnvW1A1_cifar10_std.onnx", "cifar10_test_cnv.npz", "cifar10_test_cnv.npz", 6.0),
    ("TFC_1W1A.onnx", "tfc_golden_200.npz", "tfc_golden_200.npz", 3.0),
]


@pytest.mark.parametrize(("name", "calibration", "test", "loss"), CASES, ids=[case[0] for case in CASES])
def test_other_networks(name: str, calibration: str, test: str, loss: float) -> None:
    x, y = load(test, 120)
    model = quantize(DATA / name, load_preset("pynq-z1"), load(calibration, 48)[0])
    assert top1(model, x, y) >= top1(prepare(DATA / name), x, y) - loss


def test_mobilenet_quantizes() -> None:
    """Depthwise layers become integers as the others do."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 224, 224)).astype(np.float32)
    model = quantize(DATA / "mobilenet_v1_0.25_224_float.onnx", load_preset("pynq-z1"), x)
    found = run_session(open_session(model, exact=True), ["output"], {"input": x})[0]
    assert found.shape == (2, 1001)
    made = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all(set(node.input) <= made for node in convolutions)
    assert len(convolutions) == 28
