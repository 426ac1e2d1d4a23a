"""Operators of the exported C, each compiled by itself, against onnxruntime: the same bytes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c_programs
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from vta_arch.c_header import HEADER_NAME, registers_header
from vta_arch.errors import ProgramError
from vta_arch.packing import PackStep
from vta_arch.program import CpuStep, Tensor
from vta_boards.bare_metal import c_text
from vta_boards.bare_metal.cpu_nodes import write_cpu_step
from vta_boards.bare_metal.export import TEMPLATES
from vta_boards.bare_metal.values import Body, Value
from vta_runtime.cpu import CpuSubgraph
from vta_runtime.packing import pack_windows

Array = NDArray[Any]
Constants = dict[str, Array]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def numbers(shape: Sequence[int], seed: int = 0) -> Array:
    """Floats of many sizes, with halves, signed zeros, infinities and values near the limits of integers."""
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 6, shape)).astype(np.float32)
    halves = rng.integers(-300, 300, shape).astype(np.float32) / 2
    values = np.where(rng.random(shape) < 0.4, halves, values)
    special = np.array([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -0.3, 8388607.5, -8388608.0, 1e-40, 3e38], np.float32)
    flat = values.reshape(-1)
    flat[: min(len(special), flat.size)] = special[: flat.size]
    return values


def library(folder: Path, statements: Body, output: Value) -> ctypes.CDLL:
    """Statements as a function ``run(inputs, outputs)``, compiled as the Makefile does."""
    (folder / HEADER_NAME).write_text(registers_header())
    for name in ("vta_tensors.h", "vta_tensors.c", "vta_driver.h"):
        text = (TEMPLATES / name).read_text(encoding="utf-8").replace("@MAX_RANK@", "6")
        (folder / name).write_text(text)
    size = output.size * output.dtype.itemsize
    lines = [*statements.statements, f"memcpy(outputs[0], {statements.expression(output)}, {size});"]
    head = '#include "vta_tensors.h"\n#include <string.h>\n\n'
    run = "void run(const void *const *inputs, void *const *outputs) {\n" + "\n".join(lines) + "\n}\n"
    hooks = "void vta_cache_flush(const void *m, size_t n) { (void)m; (void)n; }\n"
    hooks += "void vta_cache_invalidate(void *m, size_t n) { (void)m; (void)n; }\n"
    declared = "void run(const void *const *, void *const *);\n"
    (folder / "run.c").write_text(head + "\n".join(statements.arrays) + hooks + declared + run)
    command = ["cc", "-std=c99", "-O2", "-ffp-contract=off", *c_programs.STRICT.split(), "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, "run.c", "vta_tensors.c", "-o", "run.so"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "run.so"))


def call(loaded: ctypes.CDLL, inputs: Sequence[Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What ``run`` leaves."""
    result = np.empty(shape, dtype)
    arrays = [np.ascontiguousarray(value) for value in inputs]
    given = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    loaded.run(given, (ctypes.c_void_p * 1)(result.ctypes.data))
    return result


def step(nodes: list[onnx.NodeProto], tensors: dict[str, Tensor], inputs: list[str], constants: Constants) -> CpuStep:
    """A CPU step of these nodes, whose output is ``y``."""
    kinds = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kinds[tensors[name].dtype], tensors[name].shape)

    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [info(name) for name in inputs], [info("y")], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return CpuStep(model.SerializeToString(), tuple(inputs), ("y",))


F32 = np.float32
X = (2, 3, 4, 5)
CASES: dict[str, tuple[list[onnx.NodeProto], Constants, dict[str, Array], tuple[int, ...], str]] = {
    "quantize": (
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        {"s": F32(0.25), "z": np.int8(-3)},
        {"x": numbers(X)},
        X,
        "int8",
    ),
    "quantize-any-scale": (
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        {"s": F32(0.0371), "z": np.uint8(117)},
        {"x": numbers(X) / 20},
        X,
        "uint8",
    ),
    "quantize-channels": (
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=1)],
        {"s": np.array([0.5, 0.11, 3.0], F32), "z": np.array([0, 7, 255], np.uint8)},
        {"x": numbers(X)},
        X,
        "uint8",
    ),
    "dequantize": (
        [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=-1)],
        {"s": np.array([0.5, 0.11, 3.0, 1e-3, 1], F32), "z": np.array([0, 7, -128, 127, -1], np.int8)},
        {"x": np.random.default_rng(0).integers(-128, 128, X, np.int8)},
        X,
        "float32",
    ),
    "moves": (
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("Pad", ["t", "pads", "v"], ["p"]),
            helper.make_node("Concat", ["p", "p", "c"], ["q"], axis=-2),
            helper.make_node("Flatten", ["q"], ["f"], axis=2),
            helper.make_node("Reshape", ["f", "shape"], ["y"]),
        ],
        {
            "pads": np.array([0, 1, 0, 2, 0, 0, 1, 0]),
            "v": np.int8(-5),
            "c": np.full((2, 5, 1, 5), 9, np.int8),
            "shape": np.array([-1, 5]),
        },
        {"x": np.random.default_rng(0).integers(-128, 128, X, np.int8)},
        (130, 5),
        "int8",
    ),
    "arithmetic": (
        [
            helper.make_node("Mul", ["x", "a"], ["1"]),
            helper.make_node("Sub", ["1", "z"], ["2"]),
            helper.make_node("Div", ["2", "b"], ["3"]),
            helper.make_node("Neg", ["3"], ["4"]),
            helper.make_node("Add", ["a", "a"], ["aa"]),
            helper.make_node("Add", ["aa", "4"], ["y"]),
        ],
        {"a": np.array([[[0.1]], [[-3.0]], [[0.7]]], F32), "b": F32(0.3)},
        {"x": numbers(X), "z": numbers((5,), 1)},
        X,
        "float32",
    ),
    "clip": (
        [
            helper.make_node("Relu", ["x"], ["1"]),
            helper.make_node("Clip", ["1", "", "six"], ["2"]),
            helper.make_node("Clip", ["2", "one"], ["y"]),
        ],
        {"six": F32(6), "one": F32(0.125)},
        {"x": numbers(X)},
        X,
        "float32",
    ),
    **{
        name.lower(): ([helper.make_node(name, ["x"], ["y"])], {}, {"x": numbers(X)}, X, "float32")
        for name in ("Round", "Floor", "Ceil", "Identity")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_same_bytes_as_onnxruntime(name: str, tmp_path: Path) -> None:
    nodes, constants, inputs, shape, dtype = CASES[name]
    constants = {key: np.asarray(value) for key, value in constants.items()}
    tensors = {key: Tensor(key, value.shape, value.dtype.name) for key, value in inputs.items()}
    tensors["y"] = Tensor("y", shape, dtype)
    made = step(nodes, tensors, list(inputs), constants)
    body = Body()
    values = {key: Value(f"inputs[{n}]", v.dtype, v.shape) for n, (key, v) in enumerate(inputs.items())}
    write_cpu_step(body, made, tensors, values)
    found = call(library(tmp_path, body, values["y"]), list(inputs.values()), shape, tensors["y"].host_dtype)
    expected = CpuSubgraph(made, tensors).run(inputs)["y"]
    assert found.dtype == expected.dtype
    wrong = np.flatnonzero(
        found.reshape(-1).view(np.uint8) != np.ascontiguousarray(expected).reshape(-1).view(np.uint8)
    )
    assert not len(wrong), (
        found.reshape(-1)[wrong[0] // found.itemsize],
        expected.reshape(-1)[wrong[0] // found.itemsize],
    )


@pytest.mark.parametrize("kind", ["int4", "uint4", "int2"])
def test_narrow_integers_cross_as_floats(kind: str, tmp_path: Path) -> None:
    """A tensor below 8 bits enters and leaves a subgraph under the name of its port."""
    low, high = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1)}[kind]
    tensors = {"x": Tensor("x", X, kind), "y": Tensor("y", X, kind)}
    nodes = [helper.make_node("Neg", ["x/as_float"], ["n"]), helper.make_node("Add", ["n", "c"], ["y/as_float"])]
    ports = {name: Tensor(tensors[name].port, X, "float32") for name in tensors}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(ports["x"].name, TensorProto.FLOAT, X)],
        [helper.make_tensor_value_info(ports["y"].name, TensorProto.FLOAT, X)],
        [numpy_helper.from_array(np.float32(low + high), "c")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    made = CpuStep(model.SerializeToString(), ("x",), ("y",))
    x = np.random.default_rng(0).integers(low, high + 1, X).astype(tensors["x"].host_dtype)
    body, values = Body(), {"x": Value("inputs[0]", x.dtype, X)}
    write_cpu_step(body, made, tensors, values)
    found = call(library(tmp_path, body, values["y"]), [x], X, x.dtype)
    assert (found == CpuSubgraph(made, tensors).run({"x": x})["y"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_windows_as_the_runtime_gathers_them(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    images, channels, height, width = (int(n) for n in rng.integers(1, 8, 4))
    pairs = [(int(a), int(b)) for a, b in (rng.integers(1, 4, 2), rng.integers(1, 4, 2), rng.integers(1, 3, 2))]
    window = PackStep(
        "x", "y", *pairs, (int(rng.integers(0, 4)), int(rng.integers(0, 4))), int(rng.integers(-128, 128))
    )
    rows, cols = (int(n) for n in rng.integers(1, 7, 2))
    packed = Tensor("y", (images, channels * window.window[0] * window.window[1], rows, cols), "int8")
    x = rng.integers(-128, 128, (images, channels, height, width), np.int8)
    fields = [images, channels, height, width, rows, cols]
    inner = ", ".join(f"{{{a}, {b}}}" for a, b in (window.window, window.strides, window.dilations, window.before))
    literal = f"{{{', '.join(map(str, fields))}, {inner}, {window.value % 256}}}"
    body = Body()
    output = body.buffer(x.dtype, packed.shape, "packed")
    body.add(f"vta_gather_windows(&(const vta_windows){literal}, inputs[0], {output.text});")
    found = call(library(tmp_path, body, output), [x], (images, rows, cols, packed.shape[1]), x.dtype)
    assert (found.transpose(0, 3, 1, 2) == pack_windows(window, x, packed)).all()


def test_what_has_no_form_in_c_is_refused_by_name() -> None:
    x = np.zeros((1, 4), np.float32)
    tensors = {"x": Tensor("x", (1, 4), "float32"), "y": Tensor("y", (1, 4), "float32")}

    def refusal(*nodes: onnx.NodeProto, **constants: Array) -> str:
        values = {"x": Value("inputs[0]", x.dtype, x.shape)}
        with pytest.raises(ProgramError) as caught:
            write_cpu_step(Body(), step(list(nodes), tensors, ["x"], constants), tensors, values)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    softmax = refusal(helper.make_node("Softmax", ["x"], ["y"], name="last"))
    assert softmax.startswith("node 'last' (Softmax): exported C has no such operator; it has Add, ")
    assert softmax.endswith("export with --integers all to leave the CPU's operators at the borders out")
    assert "must be constant" in refusal(helper.make_node("Clip", ["x", "", "x"], ["y"]))
    scale = np.array([0.0], np.float32)
    bad = refusal(helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q"), s=scale)
    assert "'q' (QuantizeLinear): its scale must be positive" in bad


def test_text_cannot_leave_its_place() -> None:
    """Names from a program are comments, strings and macros, and nothing else."""
    name = 'a"*/\n??/\\x\u00e9' + "b" * 999
    assert "*/" not in c_text.comment(name)[:-3]
    assert "\n" not in c_text.comment(name) + c_text.string(name)
    assert c_text.string('a"\\?\n') == '"a\\"\\\\\\?_"'
    assert c_text.macro_names(["x", "X", "x:0", "9/a", ""]) == ["X", "X_2", "X_0", "9_A", "UNNAMED"]
    for value in (0.1, -3e38, 1e-45, 1.0, -0.0, 16777216.0):
        text = c_text.number(np.float32(value))
        assert text.endswith("f")
        assert np.float32(float.fromhex(text[:-1])) == np.float32(value)
    with pytest.raises(ProgramError, match="inf"):
        c_text.number(np.float32("inf"))
