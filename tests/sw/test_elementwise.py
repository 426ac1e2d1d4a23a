"""Products and sums with constants, and activations that stand alone, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from operator_models import ANY_SCALE, CONFIGS, any_scale, check, images, same_pair
from qdq_models import QdqBuilder

SHAPE = (21, 9, 8)


@pytest.mark.parametrize("name", ANY_SCALE)
@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Sub", "Rsub"])
@pytest.mark.parametrize("scalar", [True, False])
def test_constant_operand(name: str, op: str, scalar: bool) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng([len(op), scalar])
    net = QdqBuilder(cfg, 4, any_scale=True)
    x = net.input("x", ("N", *SHAPE), exponent=-4)
    values = rng.uniform(-1.5, 1.5, () if scalar else (SHAPE[0], 1, 1)).astype(np.float32)
    if op in ("Mul", "Div"):
        values = np.where(np.abs(values) < 0.3, np.float32(0.7), values)
    operands = [x, net.constant("c", values)]
    y = net.node(op.replace("Rs", "S"), operands[::-1] if op == "Rsub" else operands, "layer")
    y = net.pair(y, -4)
    coarse = op not in ("Mul", "Div") and cfg.wgt_width < 8
    program, apart = check(net.model(y), cfg, {"x": images(SHAPE, 8)}, net.scales[y], None if coarse else 1)
    assert apart.max(initial=0) <= 1
    assert np.count_nonzero(apart) <= 2 + apart.size // 10_000
    if not program.layers:
        assert "too coarse" in program.offload["layer"]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_activation_alone(name: str, op: str) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 5, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *SHAPE))
    bounds = [net.constant("low", np.float32(-0.5)), net.constant("high", np.float32(3))] if op == "Clip" else []
    y = same_pair(net, net.node(op, [x, *bounds], "layer"), x)
    _, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], 1)
    assert not apart.any()


@pytest.mark.parametrize("name", ANY_SCALE)
@pytest.mark.parametrize("slope", [0.2, 0.5, -0.25, 0.0])
def test_leaky_relu(name: str, slope: float) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 6, any_scale=True)
    x = net.input("x", ("N", *SHAPE))
    y = net.pair(net.node("LeakyRelu", [x], "layer", alpha=slope), -4)
    fits = cfg.wgt_width > 2 or slope in (0.5, 0.0)
    program, apart = check(net.model(y), cfg, {"x": images(SHAPE)}, net.scales[y], int(fits))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1 + apart.size // 10_000
    if not fits:
        assert "no fraction" in program.offload["layer"]
