"""Networks quantized by onnxruntime's own tools: QDQ and QOperator, int8 and uint8, zero points on weights too."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import ALLOWED, DATA, Distance, compare
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from vta_arch.presets import load_preset

SIZE = 12


def small_network(opset: int = 13) -> onnx.ModelProto:
    """One of each operator that onnxruntime quantizes and layers are made of, with seeded weights."""
    rng = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(x: str, name: str, outs: int, ins: int, size: int, **attributes: Any) -> str:
        weight = rng.normal(0, (2 / (ins * size * size)) ** 0.5, (outs, ins, size, size))
        weight = weight + 0.2 * weight.std()  # so that zero points of uint8 weights are not in the middle
        named = constant(f"{name}_w", weight), constant(f"{name}_b", rng.normal(0, 0.1, outs))
        return node("Conv", [x, *named], name, **attributes)

    x = node("Relu", [conv("x", "conv1", 10, 3, 3, pads=[1, 1, 1, 1])], "relu1")
    x = node("MaxPool", [x], "maxpool", kernel_shape=[2, 2], strides=[2, 2])
    left = conv(x, "depthwise", 10, 1, 3, pads=[1, 1, 1, 1], group=10)
    right = conv(x, "conv2", 10, 10, 1)
    total = node("Add", [left, right], "add")
    scaled = node("LeakyRelu", [right], "leaky", alpha=0.125)
    x = node("Concat", [total, scaled], "concat", axis=1)
    x = node("Relu", [conv(x, "conv3", 12, 20, 3, pads=[1, 1, 1, 1], strides=[2, 2])], "relu3")
    x = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flatten")
    weights = constant("gemm_w", rng.normal(0, 0.4, (12, 9))), constant("gemm_b", rng.normal(0, 0.1, 9))
    x = node("Gemm", [x, *weights], "gemm")
    node("MatMul", [x, constant("matmul_w", rng.normal(0, 0.4, (9, 7)))], "y")
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", 3, SIZE, SIZE]), ("y", ["N", 7]))
    )
    graph = helper.make_graph(nodes, "small", [next(ends)], [next(ends)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def images(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, SIZE, SIZE)).astype(np.float32)


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self) -> None:
        self._batches = iter([{"x": images(8, seed)} for seed in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def quantized(folder: Path, *, opset: int = 13, **options: Any) -> Path:
    """The small network, quantized by onnxruntime with ``options``."""
    source, result = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(small_network(opset), source)
    quantize_static(source, result, Calibration(), **options)
    return result


def assert_close(found: Distance) -> None:
    """Of no layer more than the allowed share; a rounding of less than one output counts as none."""
    for name, (differing, size) in found.layers.items():
        assert differing <= max(1, ALLOWED * size), f"{name}: {differing} of {size}"


INT8, UINT8 = QuantType.QInt8, QuantType.QUInt8
CASES = {
    "QDQ, int8, per channel": (QuantFormat.QDQ, INT8, INT8, True),
    "QDQ, uint8": (QuantFormat.QDQ, UINT8, INT8, False),
    "QDQ, uint8, uint8 weights": (QuantFormat.QDQ, UINT8, UINT8, False),
    "QDQ of com.microsoft": (QuantFormat.QDQ, UINT8, INT8, True),
    "QOperator, int8": (QuantFormat.QOperator, INT8, INT8, False),
    "QOperator, uint8, per channel": (QuantFormat.QOperator, UINT8, INT8, True),
    "QOperator, uint8, uint8 weights": (QuantFormat.QOperator, UINT8, UINT8, False),
}


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_files(case: str, tmp_path: Path) -> None:
    """Every layer runs on the accelerator, with onnxruntime's results."""
    form, activations, weights, per_channel = CASES[case]
    path = quantized(
        tmp_path,
        quant_format=form,
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
        extra_options={"UseQDQContribOps": "com.microsoft" in case},
    )
    found = compare(path, load_preset("tiny"), {"x": images(8)})
    assert_close(found)
    cpu = {name for name, text in found.program.offload.items() if not text.startswith("fused into")}
    assert not cpu, found.on_cpu
    assert np.array_equal(found.found["y"].argmax(1), found.expected["y"].argmax(1))


@pytest.mark.parametrize("preset", ["pynq-z1", "classic", "w4a8"])
def test_other_configurations(preset: str, tmp_path: Path) -> None:
    """Without zero points (classic) and with weights of 4 bits the layers that do not fit say so, all stays exact."""
    path = quantized(tmp_path, quant_format=QuantFormat.QOperator, activation_type=UINT8, weight_type=UINT8)
    found = compare(path, load_preset(preset), {"x": images(4)})
    assert_close(found)
    if preset == "pynq-z1":
        assert len(found.layers) >= 8
    else:
        assert all(found.program.offload.values())
    assert np.array_equal(found.found["y"].argmax(1), found.expected["y"].argmax(1))


def test_older_operator_set(tmp_path: Path) -> None:
    """The operators of com.microsoft do not keep a file of an old operator set from being converted."""
    path = quantized(tmp_path, opset=11, quant_format=QuantFormat.QOperator, activation_type=UINT8, weight_type=INT8)
    assert_close(compare(path, load_preset("tiny"), {"x": images(2)}))


def test_dynamic_quantization_stays_on_the_cpu(tmp_path: Path) -> None:
    """Scales that are found while the network runs: onnxruntime's results, and the reasons name them."""
    source, path = tmp_path / "float.onnx", tmp_path / "dynamic.onnx"
    onnx.save(small_network(), source)
    quantize_dynamic(source, path)
    found = compare(path, load_preset("tiny"), {"x": images(1)})
    reasons = [text for text in found.program.offload.values() if "while the network runs" in text]
    assert not found.layers
    assert len(reasons) >= 5
    np.testing.assert_allclose(found.found["y"], found.expected["y"], rtol=1e-5, atol=1e-5)


def _mobilenet_images(count: int, size: int) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    stored = np.load(DATA / "imagenet_150_jpeg.npz")
    at = stored["offsets"]
    decoded = [image.open(io.BytesIO(stored["jpeg"][at[k] : at[k + 1]].tobytes())) for k in range(count)]
    pixels = [np.asarray(item.resize((size, size), image.BILINEAR), np.float32) for item in decoded]
    return ((np.stack(pixels).transpose(0, 3, 1, 2) - 128) / 128).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet8_int8_qdq", 11), ("dscnn_kws_int8_qdq", 11), ("mobilenet_v1_0.25_128_quant_qdq", 29)],
)
def test_real_networks(name: str, layers: int) -> None:
    """TFLite's networks as QDQ: all layers on the accelerator, one output in 10,000 differs at most."""
    if not (DATA / f"{name}.onnx").exists():
        pytest.skip(f"{name}.onnx is not beside the project")
    if name.startswith("mobilenet"):
        x = _mobilenet_images(2, 128)
    else:
        data = "cifar10_test_u8" if name.startswith("resnet8") else "kws_test_400"
        x = np.load(DATA / f"{data}.npz")["x"][:4].astype(np.float32)
    found = compare(DATA / f"{name}.onnx", load_preset("pynq-z1"), {"input": x})
    assert len(found.layers) >= layers, found.on_cpu
    assert found.share <= ALLOWED
    output = found.program.outputs[0]
    assert np.array_equal(found.found[output].argmax(1), found.expected[output].argmax(1))
