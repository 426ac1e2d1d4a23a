"""The canonical form computes what the file computes, and hostile files are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from vta_arch.errors import DataError, ModelError
from vta_sw.frontend import load_model, open_session, prepare, run_session, save_model
from vta_sw.frontend.graph import Graph, attribute

DATA = Path(__file__).parents[3] / "shared" / "data"


def make_model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: list[int | str],
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> ModelProto:
    """A model with one input ``x``; the shapes of its outputs are left to inference."""
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def conv_bn() -> ModelProto:
    rng = np.random.default_rng(1)
    weights = {"w": values(rng, 5, 3, 3, 3), "b": values(rng, 5), "s": values(rng, 5), "o": values(rng, 5)}
    weights |= {"m": values(rng, 5), "v": np.abs(values(rng, 5)) + 0.5, "a": values(rng, 5, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], epsilon=0.01),
        helper.make_node("Add", ["a", "n"], ["p"]),
        helper.make_node("Dropout", ["p"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
    ]
    return make_model(nodes, weights, ["N", 3, 8, 8])


def matmul_add() -> ModelProto:
    rng = np.random.default_rng(2)
    weights = {"w": values(rng, 12, 7), "b": values(rng, 1, 7), "s": np.array([1, -1], dtype=np.int64)}
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    return make_model(nodes, weights, [1, 3, 2, 2])


def pad_conv() -> ModelProto:
    rng = np.random.default_rng(3)
    weights = {"w": values(rng, 4, 3, 3, 3), "p": np.array([0, 0, 1, 2, 0, 0, 0, 1], dtype=np.int64)}
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["q"]),
        helper.make_node("Conv", ["q", "w"], ["c"], strides=[2, 2]),
        helper.make_node("MaxPool", ["c"], ["o"], kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("ReduceMean", ["o"], ["y"], axes=[-1, 2], keepdims=1),
    ]
    return make_model(nodes, weights, ["batch", 3, 9, 9])


def scaled_gemm() -> ModelProto:
    rng = np.random.default_rng(4)
    weights = {"w": values(rng, 6, 5), "b": np.array([0.5], dtype=np.float32), "t": values(rng, 5, 6)}
    nodes = [
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        helper.make_node("Transpose", ["t"], ["u"]),
        helper.make_node("Add", ["u", "w"], ["z"]),
        helper.make_node("Gemm", ["x", "z", "b"], ["g"], alpha=0.5, beta=2.0),
        helper.make_node("Gemm", ["g", "w", "k"], ["y"], transB=1),
    ]
    return make_model(nodes, weights, ["N", 6])


CASES: dict[str, tuple[Callable[[], ModelProto], list[str]]] = {
    "conv_bn": (conv_bn, ["Conv", "Relu"]),
    "matmul_add": (matmul_add, ["Reshape", "Gemm"]),
    "pad_conv": (pad_conv, ["Conv", "MaxPool", "GlobalAveragePool"]),
    "scaled_gemm": (scaled_gemm, ["Gemm", "Gemm"]),
}


@pytest.mark.parametrize("name", CASES)
def test_canonical_form_computes_the_same(name: str) -> None:
    make, operators = CASES[name]
    model = make()
    before = model.SerializeToString()
    result = prepare(model)
    assert model.SerializeToString() == before
    assert [node.op_type for node in result.graph.node] == operators
    assert len({node.name for node in result.graph.node}) == len(operators)
    assert [value.name for value in result.graph.output] == ["y"]
    shape = [d or 1 for d in Graph(model).shape("x") or ()]
    x = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    expected = run_session(open_session(model), ["y"], {"x": x})[0]
    np.testing.assert_allclose(run_session(open_session(result), ["y"], {"x": x})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_canonical_form_is_a_fixed_point(name: str) -> None:
    once = prepare(CASES[name][0]())
    assert prepare(once).SerializeToString() == once.SerializeToString()


def test_padding_ends_up_in_the_convolution() -> None:
    conv = prepare(pad_conv()).graph.node[0]
    assert attribute(conv, "pads", None) == [1, 2, 0, 1]


@pytest.mark.parametrize(("name", "old"), [("conv_bn", 1), ("matmul_add", 1), ("pad_conv", 1)])
def test_batch_can_be_changed(name: str, old: int) -> None:
    model = CASES[name][0]()
    result = prepare(model, batch=3)
    shape = [d or old for d in Graph(model).shape("x") or ()]
    x = np.random.default_rng(6).normal(size=[3, *shape[1:]]).astype(np.float32)
    whole = run_session(open_session(result), ["y"], {"x": x})[0]
    session = open_session(model)
    parts = [run_session(session, ["y"], {"x": x[i : i + 1]})[0] for i in range(3)]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-4, atol=1e-5)


def test_a_network_that_mixes_its_batch_keeps_it() -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = make_model(nodes, {"s": np.array([3, 4], dtype=np.int64)}, [1, 12])
    with pytest.raises(ModelError, match=r"batch|contradict"):
        prepare(model, batch=2)


def computed_shape() -> ModelProto:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Concat", ["s", "k"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    return make_model(nodes, {"k": np.array([12], dtype=np.int64)}, ["N", 3, 4])


def test_a_computed_shape_follows_the_batch() -> None:
    assert len(prepare(computed_shape()).graph.node) == 3
    fixed = prepare(computed_shape(), batch=2)
    assert [node.op_type for node in fixed.graph.node] == ["Reshape"]
    assert Graph(fixed).shape("y") == (2, 12)


def test_padding_the_batch_is_refused() -> None:
    pads = {"p": np.array([0, 0, 1 << 30, 0], dtype=np.int64)}
    with pytest.raises(ModelError, match="batch"):
        prepare(make_model([helper.make_node("Pad", ["x", "p"], ["y"])], pads, ["N", 12]))


def test_dynamic_dimensions_name_the_input_and_the_remedy() -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 3, "H", "W"])
    with pytest.raises(ModelError, match=r"'x'.*--shape x=1,3,32,32"):
        prepare(model)
    fixed = prepare(model, shapes={"x": (2, 3, 16, 16)})
    assert Graph(fixed).shape("y") == (2, 3, 16, 16)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (1, 3, 0, 8), (1, 3, 8, 1 << 40)])
def test_a_shape_that_contradicts_the_file_is_refused(shape: tuple[int, ...]) -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 3, "H", "W"])
    with pytest.raises(ModelError, match="--shape x="):
        prepare(model, shapes={"x": shape})
    with pytest.raises(ModelError, match="no such input"):
        prepare(model, shapes={"z": (1, 3, 8, 8)})


def _cyclic() -> ModelProto:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    nodes.append(helper.make_node("Relu", ["b"], ["y"]))
    return make_model(nodes, {}, [1, 3])


def _external() -> ModelProto:
    model = conv_bn()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model


def _zero_stride() -> ModelProto:
    model = pad_conv()
    model.graph.node[1].attribute[0].ints[0] = 0
    return model


def _truncated_weights() -> ModelProto:
    model = conv_bn()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    return model


def _huge_constant() -> ModelProto:
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return make_model(nodes, {"s": np.array([1 << 20, 1 << 20], dtype=np.int64)}, [1, 1 << 20])


def _wrong_channels() -> ModelProto:
    model = conv_bn()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    return model


HOSTILE = [_cyclic, _external, _zero_stride, _truncated_weights, _huge_constant, _wrong_channels]


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_models_get_one_line(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    path = tmp_path / "hostile.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"not a model", b"\x08", bytes(range(256))])
def test_files_that_are_not_onnx(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(raw)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "file.onnx" in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """Random bytes of a good file change; nothing but a ModelError may come out."""
    rng, raw = np.random.default_rng(8), CASES[name][0]().SerializeToString()
    path = tmp_path / "damaged.onnx"
    for _ in range(40):
        damaged = bytearray(raw)
        damaged[int(rng.integers(len(raw)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            load_model(path)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_missing_files_and_unwritable_outputs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="not a file"):
        load_model(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        save_model(conv_bn(), tmp_path / "no" / "folder.onnx")
    save_model(conv_bn(), tmp_path / "good.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["good.onnx"]
    assert load_model(tmp_path / "good.onnx").graph.node[0].op_type == "Conv"


def _names() -> list[str]:
    return sorted(path.name for path in DATA.glob("*.onnx")) if DATA.is_dir() else []


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks are not on this machine")
@pytest.mark.parametrize("name", _names())
def test_real_networks_compute_the_same(name: str) -> None:
    original = onnx.load(DATA / name)
    result = load_model(DATA / name)
    if "TFC" in name:
        golden = np.load(DATA / "tfc_golden_200.npz")
        x, expected = golden["x"][:1], golden[name.removesuffix(".onnx")][:1]
    else:
        shape = [d or 2 for d in Graph(result).shape(result.graph.input[0].name) or ()]
        x = np.random.default_rng(7).normal(size=shape).astype(np.float32)
        expected = run_session(
            open_session(original), [original.graph.output[0].name], {result.graph.input[0].name: x}
        )[0]
    feeds = {result.graph.input[0].name: x.astype(np.float32)}
    found = run_session(open_session(result), [result.graph.output[0].name], feeds)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
