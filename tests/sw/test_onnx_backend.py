"""ONNX's own node tests of the quantized operators, through compiler and simulator: what runs where.

A test's data comes in as the network's input; its scales, zero points and weights are constants, as in the file of a
network. Each test is named with what must become of it.
"""

from __future__ import annotations

import importlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as cases
from onnx.backend.test.case.test_case import TestCase
from vta_arch.errors import VTAError
from vta_arch.presets import load_preset
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile

_MODULES = (
    "convinteger",
    "dequantizelinear",
    "dynamicquantizelinear",
    "matmulinteger",
    "qlinearconv",
    "qlinearmatmul",
    "quantizelinear",
)

NEWEST_OPSET = 25
"""That onnxruntime runs; the operators here have not changed since."""

ACCELERATOR = {
    "test_qlinearconv",
    *(f"test_qlinearmatmul_2D_{kind}_{scale}" for kind in ("int8", "uint8") for scale in ("float16", "float32")),
}
"""Run on the accelerator."""

CPU = {
    # Sums of 32 bits leave the network: the accelerator stores activations.
    "test_convinteger_without_padding",
    "test_matmulinteger",
    # Products of matrices of several dimensions.
    *(f"test_qlinearmatmul_3D_{kind}_{scale}" for kind in ("int8", "uint8") for scale in ("float16", "float32")),
    # The scale is found while it runs.
    "test_dynamicquantizelinear",
    "test_dynamicquantizelinear_expanded",
    "test_dynamicquantizelinear_max_adjusted",
    "test_dynamicquantizelinear_max_adjusted_expanded",
    "test_dynamicquantizelinear_min_adjusted",
    "test_dynamicquantizelinear_min_adjusted_expanded",
    # There is a conversion and no layer.
    "test_dequantizelinear",
    "test_quantizelinear",
    "test_dequantizelinear_blocked",
    "test_quantizelinear_blocked_asymmetric",
    "test_quantizelinear_blocked_symmetric",
    *(
        f"test_{what}linear_{kind}"
        for what in ("quantize", "dequantize")
        for kind in ("axis", "int2", "int4", "int16", "uint2", "uint4", "uint16")
    ),
}
"""Run, but on the CPU, with ONNX's results."""

REFUSED = {
    # onnxruntime has no kernel for it either: a zero point of the input together with padding.
    "test_convinteger_with_padding",
    # Floats of 8 and 4 bits.
    *(f"test_dequantizelinear_{kind}" for kind in ("e4m3fn", "e4m3fn_float16", "e4m3fn_zero_point", "e5m2")),
    *(f"test_{what}linear_float4e2m1" for what in ("quantize", "dequantize")),
    "test_quantizelinear_e4m3fn",
    "test_quantizelinear_e5m2",
}
"""Refused in one line."""


def node_tests() -> dict[str, TestCase]:
    """The tests of these operators by name. (Collecting all of ONNX's takes longer than to run these.)"""
    for name in _MODULES:
        importlib.import_module(f"{cases.__name__}.{name}")
    return {case.name: case for case in cases._NodeTestCases}


TESTS = node_tests()


def with_constants(case: TestCase) -> tuple[onnx.ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """The test's model with all inputs but the data as constants; the data, and the results that it must have."""
    assert case.model is not None
    model, inputs, results = onnx.ModelProto(), *([_array(value) for value in values] for values in case.data_sets[0])
    model.CopyFrom(case.model)
    for item in model.opset_import:
        item.version = min(item.version, NEWEST_OPSET)
    names = [value.name for value in model.graph.input]
    data = {"QLinearMatMul": "a", "MatMulInteger": "A"}.get(model.graph.node[0].op_type, names[0])
    for name, value in zip(names, inputs, strict=True):
        if name != data:
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    kept = [value for value in model.graph.input if value.name == data]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, {data: _bytes(inputs[names.index(data)])}, [_bytes(value) for value in results]


def _array(value: np.ndarray | np.generic | onnx.TensorProto) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _bytes(array: np.ndarray) -> np.ndarray:
    """Integers of less than a byte as bytes: so a program takes and gives them."""
    narrow = array.dtype.kind not in "iu" and "int" in array.dtype.name
    return array.astype(np.uint8 if array.dtype.name.startswith("u") else np.int8) if narrow else array


def outcome(case: TestCase) -> str:
    """Where a test runs: ``accelerator``, ``cpu``, or ``refused`` in one line. Its results must be ONNX's."""
    cfg = load_preset("tiny")
    model, inputs, results = with_constants(case)
    try:
        program = compile(model, cfg)
        executor = Executor(program, FunctionalDevice(cfg))
        found = executor.run(inputs, check=True)
    except VTAError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    assert executor.report.mismatches == 0
    for name, wanted in zip(program.outputs, results, strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=case.rtol, atol=case.atol)
    return "accelerator" if program.layers else "cpu"


@pytest.mark.parametrize("name", sorted(TESTS))
def test_outcome(name: str) -> None:
    """Every test of these operators is in one of the lists."""
    wanted = {"accelerator": ACCELERATOR, "cpu": CPU, "refused": REFUSED}
    found = outcome(TESTS[name])
    assert name in wanted[found], found


def test_lists() -> None:
    """They hold no other names."""
    assert set(TESTS) == ACCELERATOR | CPU | REFUSED
