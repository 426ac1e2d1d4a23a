"""Quantized networks: the convention of the file, the proof about accumulators, and errors."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from quantized_networks import images, run, small_network
from vta_arch.config import VTAConfig
from vta_arch.errors import DataError, ModelError
from vta_arch.presets import load_preset
from vta_sw.frontend import open_session, prepare, run_session
from vta_sw.frontend.graph import Graph
from vta_sw.models import MODELS, NetworkBuilder
from vta_sw.quantize import (
    Decision,
    QConfig,
    View,
    annotation_rules,
    quantize,
    quantize_with_report,
    register_annotation,
)
from vta_sw.quantize.annotate import RULES
from vta_sw.quantize.types import IntType

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ["tiny", "pynq-z1", "classic", "w4a8", "int4", "int2"]


def constant(graph: Graph, node: NodeProto, index: int) -> np.ndarray:
    value = graph.array(node.input[index])
    assert value is not None
    return value


@pytest.mark.parametrize("name", CONFIGS)
def test_file_follows_the_convention(name: str) -> None:
    cfg = load_preset(name)
    done = quantize_with_report(small_network(), cfg, images())
    onnx.checker.check_model(done.model)
    narrowest = min(cfg.inp_width, cfg.wgt_width)
    versions = {8: (8, 17), 4: (10, 21), 2: (13, 25)}[narrowest]
    assert (done.model.ir_version, done.model.opset_import[0].version) == versions
    graph = Graph(done.model)
    makers = graph.producers()
    layers = {node.name: node for node in graph.nodes if node.op_type in ("Conv", "Gemm")}
    assert set(layers) == {"conv1", "conv2", "depthwise", "conv3", "fc"}
    for layer in layers:
        source, weight, bias = (makers[tensor] for tensor in layers[layer].input)
        assert {source.op_type, weight.op_type, bias.op_type} == {"DequantizeLinear"}
        kind = IntType(8 if layer in ("conv1", "fc") else cfg.wgt_width, True)
        assert graph.constants[weight.input[0]].data_type == kind.onnx_type
        stored = constant(graph, weight, 0).astype(np.int64)
        assert np.abs(stored).max() <= kind.high
        scale, input_scale = constant(graph, weight, 1), constant(graph, source, 1)
        assert scale.shape == stored.shape[:1]
        if "requant" not in cfg.extensions:
            assert np.all(np.frexp(np.append(scale, input_scale))[0] == 0.5)
        assert constant(graph, bias, 0).dtype == np.int32
        np.testing.assert_array_equal(constant(graph, bias, 1), scale * input_scale)
    assert makers["output"].op_type == "DequantizeLinear"
    assert [value.name for value in graph.inputs] == ["input"]
    readers = graph.consumers()
    assert [node.op_type for node in readers["input"]] == ["QuantizeLinear"]


@pytest.mark.parametrize("name", CONFIGS)
def test_accumulators_cannot_overflow(name: str) -> None:
    cfg = load_preset(name)
    check_accumulators(cfg)


@pytest.mark.parametrize(("inp", "wgt"), [(4, 4), (2, 2), (8, 4)])
def test_narrow_accumulators_cannot_overflow(inp: int, wgt: int) -> None:
    check_accumulators(
        VTAConfig(inp_width=inp, wgt_width=wgt, acc_width=16, log_inp_buff=13, log_wgt_buff=14, log_acc_buff=16)
    )


def check_accumulators(cfg: VTAConfig) -> None:
    done = quantize_with_report(small_network(), cfg, images())
    assert done.weights
    largest = max(-cfg.inp_min, cfg.inp_max)
    for layer in done.annotation.layers:
        if layer.weight is None:
            continue
        quant = done.weights[layer.name]
        magnitude = np.abs(quant.values.astype(np.int64)).reshape(len(quant.values), -1).sum(axis=1)
        ratio = quant.scales * np.divide(
            *(done.scales[done.annotation.groups[t]] for t in (layer.inputs[0], layer.output))
        )
        if "requant" in cfg.extensions:
            assert np.all(magnitude * largest <= cfg.acc_max)
            assert np.all(np.abs(quant.bias) < 1 << 31)
            assert np.all(ratio < 1 << 24)
            continue
        shifts = -np.log2(ratio)
        half = np.where(shifts > 0, 2.0 ** (shifts - 1.0), 0.0)
        bound = (magnitude * largest + np.abs(quant.bias) + half) * 2.0 ** np.maximum(-shifts, 0)
        assert np.all(bound <= cfg.acc_max)
        assert np.all(np.abs(shifts) < cfg.acc_width)
        np.testing.assert_array_equal(shifts, np.rint(shifts))


def test_pooling_keeps_its_scale() -> None:
    graph = Graph(quantize(small_network(), load_preset("pynq-z1"), images()))
    makers = graph.producers()
    pool = next(node for node in graph.nodes if node.op_type == "MaxPool")
    before = makers[pool.input[0]]
    after = graph.consumers()[pool.output[0]][0]
    assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
    assert constant(graph, before, 1) == constant(graph, after, 1)


@pytest.mark.parametrize(("name", "least_db"), [("pynq-z1", 25.0), ("w4a8", 10.0), ("int4", 5.0)])
def test_distance_to_float(name: str, least_db: float) -> None:
    model, x = small_network(), images(32, seed=2)
    quantized = quantize(model, load_preset(name), images(64))
    expected, found = run(model, x), run(quantized, x)
    assert 10 * math.log10((expected**2).sum() / ((expected - found) ** 2).sum()) > least_db


def test_integer_arithmetic_is_what_the_file_computes() -> None:
    """One layer in integers, shift rounding half up, against the file in float: at most a tie apart."""
    cfg = dataclasses.replace(load_preset("tiny"), extensions=frozenset())
    net = NetworkBuilder("dense", 0, (24,))
    done = quantize_with_report(net.model(net.dense("fc", "input", 6)), cfg, _vectors(64))
    quant, groups = done.weights["fc"], done.annotation.groups
    x = _vectors(32, seed=5)
    scale_in, scale_out = (done.scales[groups[tensor]] for tensor in ("input", "output"))
    shifts = -np.log2(quant.scales * scale_in / scale_out).astype(np.int64)
    integers = np.clip(np.rint(x / scale_in), cfg.inp_min, cfg.inp_max).astype(np.int64)
    acc = integers @ quant.values.T.astype(np.int64) + quant.bias
    half = np.where(shifts > 0, 1 << np.maximum(shifts - 1, 0), 0)
    expected = np.clip((acc + half) >> shifts, cfg.inp_min, cfg.inp_max)
    found = np.rint(run(done.model, x) / scale_out).astype(np.int64)
    ties = (acc & ((1 << shifts) - 1)) == half
    np.testing.assert_array_equal(found[~ties], expected[~ties])


def _vectors(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 24)).astype(np.float32)


def test_unsigned_activations_leave_negative_tensors_float() -> None:
    cfg = dataclasses.replace(load_preset("tiny"), inp_signed=False)
    done = quantize_with_report(small_network(), cfg, np.abs(images()))
    assert "conv3" in {layer.name for layer in done.annotation.layers}
    assert "negative" in done.report.floats["conv2"]
    assert "uint8" in done.report.tensor_types
    kinds = {v.type.tensor_type.elem_type for v in done.model.graph.value_info if v.name.endswith("_q")}
    assert TensorProto.UINT8 in kinds
    assert np.isfinite(run(done.model, np.abs(images(4)))).all()


def test_one_bit_is_refused() -> None:
    with pytest.raises(ModelError, match="1 bit"):
        quantize(small_network(), load_preset("int1"), images())


def test_quantizing_twice_is_refused() -> None:
    once = quantize(small_network(), load_preset("tiny"), images())
    with pytest.raises(ModelError, match="already"):
        quantize(once, load_preset("tiny"), images())


def test_a_network_without_layers_is_refused() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["output"])],
        "none",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 12, 12])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 3, 12, 12])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="no layer"):
        quantize(model, load_preset("tiny"), images())


BAD_DATA = {
    "shape": np.zeros((4, 3, 10, 12), dtype=np.float32),
    "rank": np.zeros((3, 12, 12), dtype=np.float32),
    "empty": np.zeros((0, 3, 12, 12), dtype=np.float32),
    "type": np.full((4, 3, 12, 12), "x"),
    "complex": np.zeros((4, 3, 12, 12), dtype=np.complex64),
    "nan": np.full((4, 3, 12, 12), np.nan, dtype=np.float32),
    "infinity": np.full((4, 3, 12, 12), np.inf),
    "overflow": np.full((4, 3, 12, 12), 1e300),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_calibration_data_gets_one_line(kind: str) -> None:
    with pytest.raises(DataError) as caught:
        quantize(small_network(), load_preset("tiny"), BAD_DATA[kind])
    assert "\n" not in str(caught.value)
    assert "'input'" in str(caught.value)


def test_any_numeric_type_is_cast() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 12)).astype(np.uint8)
    cfg = load_preset("tiny")
    models = [quantize(small_network(), cfg, data) for data in (whole, whole.astype(np.float64))]
    assert models[0].SerializeToString() == models[1].SerializeToString()


def test_constant_zero_input_and_dead_channels() -> None:
    model = small_network()
    for tensor in model.graph.initializer:
        if tensor.name == "conv2.weight":
            values = numpy_helper.to_array(tensor).copy()
            values[2], values[3] = 0.0, 1e-12
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    done = quantize_with_report(model, load_preset("tiny"), np.zeros((4, 3, 12, 12), dtype=np.float32))
    assert not done.weights["conv2"].values[2:4].any()
    assert np.isfinite(run(done.model, images(2))).all()


def test_weights_with_nan_are_refused() -> None:
    model = small_network()
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values.reshape(-1)[0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, model.graph.initializer[0].name))
    with pytest.raises(ModelError, match="NaN"):
        quantize(model, load_preset("tiny"), images())


def test_accumulators_too_narrow_leave_the_layer_float() -> None:
    cfg = VTAConfig(acc_width=16, log_acc_buff=16)
    net = NetworkBuilder("wide", 0, (512,))
    hidden = net.relu("relu", net.dense("wide", "input", 8))
    x = np.random.default_rng(0).normal(size=(32, 512)).astype(np.float32)
    done = quantize_with_report(net.model(net.dense("narrow", hidden, 4)), cfg, x)
    assert "acc_width 16" in done.report.floats["wide"]
    assert [layer.name for layer in done.report.layers] == ["narrow"]


def test_batch_and_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    model = quantize(
        small_network(), load_preset("tiny"), images(40), batch=2, progress=lambda *step: seen.append(step)
    )
    assert Graph(model).shape("input") == (2, 3, 12, 12)
    assert Graph(model).shape("output") == (2, 5)
    assert ("calibrate", 40, 40) in seen
    assert seen[-1][1] == seen[-1][2]


def test_a_rule_can_be_replaced() -> None:
    def first_layer_float(view: View, node: NodeProto) -> Decision:
        return "the first layer stays float" if node.name == "conv1" else built_in(view, node)

    built_in = RULES["Conv"]
    with annotation_rules({"Conv": first_layer_float}):
        done = quantize_with_report(small_network(), load_preset("tiny"), images())
    assert done.report.floats["conv1"] == "the first layer stays float"
    assert RULES["Conv"] is built_in
    with annotation_rules({}):
        register_annotation("Gemm")(lambda *_: "no dense layers")
        done = quantize_with_report(small_network(), load_preset("tiny"), images())
        assert done.report.floats["fc"] == "no dense layers"
    assert RULES["Gemm"].__name__ == "annotate_gemm"


def test_options_keep_layers_float_and_correct_biases() -> None:
    options = QConfig(keep_float=("conv[12]",), bias_correction=True)
    done = quantize_with_report(small_network(), load_preset("w4a8"), images(), config=options)
    assert {"conv1", "conv2"} <= set(done.report.floats)
    plain = quantize_with_report(small_network(), load_preset("w4a8"), images())
    for layer in ("depthwise", "fc"):
        assert np.any(plain.weights[layer].bias != done.weights[layer].bias)
    with pytest.raises(ModelError, match="nothing_like_it"):
        quantize(small_network(), load_preset("tiny"), images(), config=QConfig(keep_float=("nothing_like_it",)))


def test_report_is_data() -> None:
    options = QConfig(keep_float=("gap",))
    report = quantize_with_report(small_network(), load_preset("int4"), images(), config=options).report
    values = report.to_dict()
    assert {layer["name"] for layer in values["layers"]} == {"conv1", "conv2", "add", "depthwise", "conv3", "fc"}
    assert values["tensor_types"]["int4"] > 0
    assert values["floats"]["gap"]
    assert all(layer["output_snr_db"] > 5 for layer in values["layers"])


def test_same_input_same_file() -> None:
    models = [quantize(MODELS["resnet8"](1), load_preset("pynq-z1"), _resnet_images()) for _ in range(2)]
    assert models[0].SerializeToString() == models[1].SerializeToString()


def _resnet_images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_file_is_canonical_already(name: str) -> None:
    """Reading a quantized file for another batch changes neither its nodes nor its numbers."""
    model, x = quantize(small_network(), load_preset(name), images()), images(2, seed=9)
    again = prepare(model, batch=2)
    assert [node.SerializeToString() for node in again.graph.node] == [n.SerializeToString() for n in model.graph.node]
    assert Graph(again).shape("output") == (2, 5)
    np.testing.assert_array_equal(run(again, x), run(model, x))


@pytest.mark.parametrize("name", ["tiny", "w4a8", "int4"])
def test_optimized_onnxruntime_agrees(name: str) -> None:
    model, x = quantize(small_network(), load_preset(name), images()), images(8, seed=9)
    optimized = run_session(open_session(model), ["output"], {"input": x})[0]
    np.testing.assert_allclose(optimized, run(model, x), atol=0.25 * float(np.abs(optimized).max()))


def test_every_process_writes_the_same_file() -> None:
    """Nothing depends on the order of a set of names, which differs from process to process."""
    code = (
        "import hashlib, numpy; from vta_arch.presets import load_preset; from vta_sw.models import MODELS\n"
        "from vta_sw.quantize import quantize; x = numpy.ones((1, 1, 49, 10), 'f4')\n"
        "model = quantize(MODELS['kws'](0), load_preset('tiny'), x)\n"
        "print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())"
    )
    path = os.pathsep.join(str(ROOT / part) for part in ("arch", "sw"))
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
