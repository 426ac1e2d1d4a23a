"""Pooling: the integer reference, the functional simulator and onnxruntime agree."""

from __future__ import annotations

import numpy as np
import pytest
from operator_models import ANY_SCALE, CONFIGS, any_scale, check, images, same_pair
from qdq_models import QdqBuilder
from vta_arch.presets import load_preset
from vta_sim.random_configs import named_configs
from vta_sw.lower.chain_tiling import ChainTask, chain_stages
from vta_sw.lower.geometry import Axis, ConvGeometry
from vta_sw.lower.parts import parts_of


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
def test_max_pool(name: str, seed: int) -> None:
    """Any kernel, stride, padding and dilation; exact, because it only selects."""
    cfg, rng = CONFIGS[name], np.random.default_rng([seed, 1])
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    dilations = [int(d) for d in rng.integers(1, 3, 2)]
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)] if "pad_value" in cfg.extensions else [0] * 4
    shape = (int(rng.integers(1, 40)), *(int(size) for size in rng.integers(6, 20, 2)))
    net = QdqBuilder(cfg, seed, any_scale=any_scale(cfg))
    x = net.input("x", ("N", *shape))
    rounded_up = seed % 2 if "pad_value" in cfg.extensions else 0
    strides = [int(rng.integers(1, 1 + (k if rounded_up else 3))) for k in kernel]
    options = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    y = same_pair(net, net.node("MaxPool", [x], "pool", **options, ceil_mode=rounded_up), x)
    _, apart = check(net.model(y), cfg, {"x": images(shape)}, net.scales[y], 1)
    assert not apart.any()


@pytest.mark.parametrize("name", ["x-tiny", "pynq-z1", "x-int4"])
@pytest.mark.parametrize("cols", range(1, 39))
def test_steps_of_a_chain_end_with_every_row(name: str, cols: int) -> None:
    """A step of two outputs would add what is beyond a row of odd width to the next one."""
    cfg = named_configs()[name] if name.startswith("x-") else load_preset(name)
    axes = Axis(1, 1, 1, 1, 1, 0, 0), Axis(38, 38, 3, 1, 1, 1, 1)
    task = ChainTask(ConvGeometry(1, 1, 1, *axes), ((1, -1, 0), (0, 1, -1), (0, 0, 1)), 0)
    steps = chain_stages(cfg, task, cols).steps
    assert all(part.count % item.outputs == 0 for item in steps for part in parts_of(38, cols))


@pytest.mark.parametrize("name", ANY_SCALE)
@pytest.mark.parametrize("seed", range(4))
def test_average_pool(name: str, seed: int) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng([seed, 2])
    kernel = [int(k) for k in rng.integers(1, 5, 2)]
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    shape = (int(rng.integers(1, 40)), *(int(size) for size in rng.integers(6, 20, 2)))
    net = QdqBuilder(cfg, seed, any_scale=True)
    x = net.input("x", ("N", *shape))
    strides = [int(s) for s in rng.integers(1, 4, 2)]
    options = {"kernel_shape": kernel, "strides": strides, "pads": pads, "count_include_pad": 1}
    y = net.pair(net.node("AveragePool", [x], "pool", **options), -4)
    _, apart = check(net.model(y), cfg, {"x": images(shape)}, net.scales[y], 1)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1 + apart.size // 10_000


@pytest.mark.parametrize("name", ANY_SCALE)
def test_global_pools_and_a_dense_layer_behind(name: str) -> None:
    """Flattening behind a pool moves nothing: all layers are in one region."""
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 3, any_scale=True)
    x = net.input("x", ("N", 21, 7, 6))
    pooled = net.pair(net.node("GlobalAveragePool", [x], "pool"), -5)
    y = net.conv(net.node("Flatten", [pooled], "flat"), "dense", (10, 21, 1, 1), dense=True)
    program, apart = check(net.model(y), cfg, {"x": images((21, 7, 6))}, net.scales[y], 2)
    assert [layer.op for layer in program.layers] == ["conv", "conv"]
    assert sum(hasattr(step, "layers") for step in program.steps) == 1
    assert apart.max() <= 1
