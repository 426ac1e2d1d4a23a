"""Requantization with arbitrary scales against onnxruntime's own integer kernels."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from vta_arch.config import VTAConfig
from vta_arch.requant import requantize
from vta_sw.frontend import open_session, run_session
from vta_sw.graph import QTensor
from vta_sw.graph.scales import add_requant, conv_requant

CHANNELS, POSITIONS = 64, 1 << 14
ALLOWED = 1e-4
"""Share of the outputs that may differ, by one step."""


def run_kernel(op: str, inputs: dict[str, np.ndarray], constants: list[np.ndarray], domain: str = "") -> np.ndarray:
    """The output of one node of ``op`` whose inputs are named i0, i1, ...: those given, all others constants."""
    rest = iter(constants)
    names = [f"i{at}" for at in range(len(inputs) + len(constants))]
    held = [numpy_helper.from_array(next(rest), name) for name in names if name not in inputs]
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    zero = constants[-2] if op == "QLinearConv" else constants[-1]
    output = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(zero.dtype), None)
    node = helper.make_node(op, names, ["y"], domain=domain)
    graph = helper.make_graph([node], "kernel", values, [output], held)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return np.asarray(run_session(open_session(model), ["y"], inputs)[0]).astype(np.int64)


def report(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Print and check the distance."""
    differing = int(np.count_nonzero(found != expected))
    print(f"{what}: {differing} of {found.size} outputs differ, {differing / found.size:.2e}")
    assert np.abs(found - expected).max() <= 1
    assert differing <= ALLOWED * found.size


def tensor(name: str, kind: type[np.integer], scale: np.float32, zero: int) -> QTensor:
    limits = np.iinfo(kind)
    return QTensor(name, (1, CHANNELS, 1, 1), kind.__name__, float(scale), int(limits.min), int(limits.max), zero)


@pytest.mark.parametrize(
    ("kind", "zeros", "depth", "bias_bits"),
    [(np.int8, (0, 0), 16, 10), (np.int8, (5, -128), 64, 16), (np.uint8, (128, 3), 32, 12), (np.int8, (0, 0), 512, 17)],
)
def test_convolution(kind: type[np.integer], zeros: tuple[int, int], depth: int, bias_bits: int) -> None:
    """A million random accumulators, each channel with a scale of its own, through QLinearConv."""
    rng = np.random.default_rng(depth)
    limits = np.iinfo(kind)
    x = rng.integers(limits.min, limits.max + 1, (1, depth, 128, 128)).astype(kind)
    w = rng.integers(-127, 128, (CHANNELS, depth, 1, 1)).astype(np.int8)
    bias = rng.integers(-(1 << bias_bits), 1 << bias_bits, CHANNELS).astype(np.int32)
    sx, sy = np.exp(rng.uniform(-6, 1, 2)).astype(np.float32)
    spread = np.sqrt(depth) * 73 * 73 + (1 << bias_bits)
    sw = (sy / sx * 60 / spread * np.exp(rng.uniform(-2, 1, CHANNELS))).astype(np.float32)
    zx, zy = (np.array(zero, kind) for zero in zeros)
    expected = run_kernel("QLinearConv", {"i0": x}, [sx, zx, w, sw, np.zeros(CHANNELS, np.int8), sy, zy, bias])
    sums = np.einsum("oi,ip->po", w[:, :, 0, 0].astype(np.float64), x.reshape(depth, -1).astype(np.float64))
    params = conv_requant(
        tensor("x", kind, sx, zeros[0]),
        sw.astype(np.float64),
        bias.astype(np.int64),
        w.astype(np.int64),
        tensor("y", kind, sy, zeros[1]),
    )
    found = requantize(sums.astype(np.int64), params, 32).T.reshape(expected.shape)
    assert found.size >= 1_000_000
    assert len(np.unique(found)) > 200
    report(f"QLinearConv, {kind.__name__}, zero points {zeros}", found, expected)


@pytest.mark.parametrize(("kind", "zeros"), [(np.int8, (0, 0, 0)), (np.int8, (-7, 90, -128)), (np.uint8, (128, 0, 9))])
def test_addition(kind: type[np.integer], zeros: tuple[int, int, int]) -> None:
    """Additions with random scales: both as the sum in float of the ONNX operators, and in onnxruntime's own kernel."""
    rng = np.random.default_rng(sum(zeros) + 500)
    limits = np.iinfo(kind)
    count, differing, fused, total = 1 << 15, 0, 0, 0
    for _ in range(32):
        a, b = rng.integers(limits.min, limits.max + 1, (2, count)).astype(kind)
        sa, sb = np.exp(rng.uniform(-3, 3, 2)).astype(np.float32)
        sy = np.float32(np.hypot(sa, sb) * rng.uniform(0.6, 1.5))
        left, right, output = (tensor(n, kind, s, z) for n, s, z in zip("aby", (sa, sb, sy), zeros, strict=True))
        (p, q), params = add_requant(VTAConfig(), left, right, output)
        found = requantize(a.astype(np.int64) * p + b.astype(np.int64) * q, params, 32)
        za, zb, zy = (np.array(zero, kind) for zero in zeros)
        real = (a.astype(np.float32) - np.float32(zeros[0])) * sa + (b.astype(np.float32) - np.float32(zeros[1])) * sb
        quantized = run_kernel("QuantizeLinear", {"i0": real}, [sy, zy])
        kernel = run_kernel("QLinearAdd", {"i0": a, "i3": b}, [sa, za, sb, zb, sy, zy], "com.microsoft")
        assert np.abs(found - quantized).max() <= 1
        assert np.abs(found - kernel).max() <= 1
        differing += int(np.count_nonzero(found != quantized))
        fused += int(np.count_nonzero(found != kernel))
        total += count
    print(f"Add, {kind.__name__}: {differing} of {total} differ, of QLinearAdd {fused}")
    assert total >= 1_000_000
    assert max(differing, fused) <= ALLOWED * total
