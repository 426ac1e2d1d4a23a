"""Adds and pools fused into convolutions: the same numbers as separate layers, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import helper
from qdq_models import QdqBuilder
from test_lower import assert_program_balanced
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.lower.chain import ChainLowering

CONFIGS = {
    **{name: load_preset(name) for name in ("tiny", "pynq-z1", "int4", "kv260", "w4a8")},
    "unsigned": dataclasses.replace(load_preset("tiny"), inp_signed=False),
}
POOLS = {"3x3/2": (3, 2), "2x2/2": (2, 2), "5x5/3": (5, 3)}


class Builder(QdqBuilder):
    """A QdqBuilder whose activations can be given scales."""

    given: float | None = None

    def spread(self, scales: np.ndarray) -> np.ndarray:
        return np.array(self.given) if self.given is not None and scales.ndim == 0 else super().spread(scales)

    def pool(self, x: str, name: str, kernel: int, stride: int, after: tuple[int, int]) -> str:
        """A MaxPool behind the dequantized ``x``, quantized with the scale of ``x``."""
        source = next(node for node in self.nodes if node.output[0] == x).input
        before = kernel - stride
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [before, before, *after]}
        self.node("MaxPool", [x], name, **sizes)
        kind = {} if len(source) > 2 else {"output_dtype": self.kind}
        self.node("QuantizeLinear", [name, *source[1:]], f"{name}_q", **kind)
        self.scales[f"{name}_dq"] = self.scales[x]
        return self.node("DequantizeLinear", [f"{name}_q", *source[1:]], f"{name}_dq")


def residual(cfg: VTAConfig, seed: int, factors: tuple[int, int]) -> tuple[onnx.ModelProto, tuple[int, int, int]]:
    """Two convolutions whose outputs are added; the scales have the ratio of ``factors``."""
    net, rng = Builder(cfg, seed, any_scale=True), np.random.default_rng(seed)
    shape = (int(rng.integers(1, 50)), int(rng.integers(3, 20)), int(rng.integers(3, 20)))
    out = int(rng.integers(1, 50))
    x = net.input("x", ("N", *shape))
    short = net.conv(x, "short", (out, shape[0], 1, 1), relu=bool(rng.integers(2)))
    net.given = float(np.float32(net.scales[short] * factors[0] / factors[1]))
    long = net.conv(x, "long", (out, shape[0], 3, 3), pads=[1, 1, 1, 1], relu=bool(rng.integers(2)))
    net.given = None
    pair = (short, long) if rng.integers(2) else (long, short)
    y = net.add(*pair, "sum", relu=bool(rng.integers(2)))
    return net.model(net.conv(y, "last", (3, out, 1, 1))), shape


def pooled(cfg: VTAConfig, seed: int, pool: str) -> tuple[onnx.ModelProto, tuple[int, int, int]]:
    """A convolution and a MaxPool, whose windows may reach over the end."""
    net, rng = Builder(cfg, seed, any_scale=True), np.random.default_rng(seed)
    kernel, stride = POOLS[pool]
    shape = (int(rng.integers(1, 40)), int(rng.integers(8, 24)), int(rng.integers(8, 24)))
    out, step = int(rng.integers(1, 50)), int(rng.integers(1, 3))
    x = net.input("x", ("N", *shape))
    y = net.conv(x, "first", (out, shape[0], 3, 3), pads=[1, 1, 1, 1], strides=[step] * 2, relu=bool(rng.integers(2)))
    after = int(rng.integers(0, kernel - stride + 1)), int(rng.integers(0, kernel - stride + 1))
    return net.model(net.pool(y, "pool", kernel, stride, after)), shape


def both(model: onnx.ModelProto, cfg: VTAConfig, shape: tuple[int, ...], *, rtl: bool = False) -> Program:
    """The fused program; it gives what the separate layers give, on the simulators and on the reference."""
    fused, separate = compile(model, cfg), compile(model, cfg, fuse=False)
    assert_program_balanced(fused)
    x = {"x": np.random.default_rng(1).normal(0, 4, (2, *shape)).astype(np.float32)}
    expected = Executor(separate, FunctionalDevice(cfg)).run(x)
    found = [Executor(fused).run(x)]
    for device in (FunctionalDevice(cfg), *([RtlDevice(cfg)] if rtl else [])):
        executor = Executor(fused, device)
        found.append(executor.run(x, check=True))
        assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    for outputs in found:
        assert all(np.array_equal(outputs[name], expected[name]) for name in expected)
    return fused


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_an_add_is_fused(name: str, seed: int) -> None:
    cfg = CONFIGS[name]
    factors = [(1, 1), (4, min(7, cfg.wgt_max)), (3, cfg.wgt_max)][seed]
    model, shape = residual(cfg, seed, factors)
    program = both(model, cfg, shape)
    assert program.offload["sum"] in ("fused into 'long'", "fused into 'short'")
    assert "requant_add" in program.layer(program.offload["sum"].split("'")[1]).arrays


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_is_fused(name: str, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a layer of its own would cost."""
    monkeypatch.setattr(ChainLowering, "cycles", lambda _: 1 << 40)
    model, shape = pooled(CONFIGS[name], len(name) + len(pool), pool)
    assert both(model, CONFIGS[name], shape).offload == {"pool": "fused into 'first'"}


@pytest.mark.parametrize("name", ["tiny", "pynq-z1"])
def test_on_the_rtl(name: str) -> None:
    cfg = load_preset(name)
    for seed in range(2):
        model, shape = residual(cfg, seed, (2, 3))
        both(model, cfg, shape, rtl=True)
        model, shape = pooled(cfg, seed, "3x3/2")
        both(model, cfg, shape, rtl=True)


def test_what_is_not_fused() -> None:
    """A sum of several products, a result with two readers, and a configuration without the extensions."""
    cfg = load_preset("tiny")
    assert "sum" not in compile(residual(cfg, 0, (1000, 999))[0], cfg).offload
    model, _ = residual(cfg, 0, (1, 1))
    for name in ("long_q", "short_q"):
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None))
    assert "sum" not in compile(model, cfg).offload
    classic = load_preset("classic")
    net = Builder(classic)
    y = net.conv(net.input("x", ("N", 3, 8, 8)), "first", (4, 3, 3, 3))
    program = compile(net.model(net.pool(y, "pool", 2, 2, (0, 0))), classic)
    assert [layer.op for layer in program.layers] == ["conv", "maxpool"]
    assert not any("pool_kernel" in layer.attributes for layer in program.layers)


def test_a_program_with_fused_layers_is_read_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    cfg = load_preset("tiny")
    for model, shape in (residual(cfg, 1, (2, 3)), pooled(cfg, 1, "2x2/2")):
        program = both(model, cfg, shape)
        program.save(tmp_path / "p.vta")
        assert Program.load(tmp_path / "p.vta").layers == program.layers


def test_a_pool_is_fused_where_the_packed_layer_gains() -> None:
    cfg = load_preset("pynq-z1")
    net = Builder(cfg, 3, any_scale=True)
    y = net.conv(net.input("x", (1, 3, 224, 224)), "stem", (64, 3, 7, 7), pads=[3, 3, 3, 3], strides=[2, 2], relu=True)
    model = net.model(net.pool(y, "pool", 3, 2, (1, 1)))
    layers = {mode: [layer.op for layer in compile(model, cfg, packing=mode).layers] for mode in ("cycles", "none")}
    assert layers == {"cycles": ["conv"], "none": ["conv", "maxpool"]}
