"""Random layers and networks: the compiled instructions equal the integer reference, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from qdq_models import QdqBuilder, residual_network
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile

CONFIGS = {
    **{name: load_preset(name) for name in ("tiny", "pynq-z1", "int4", "int2", "int1", "w4a8", "classic")},
    "passes": dataclasses.replace(load_preset("tiny"), extensions=frozenset({"overlap"})),
    "batch2": VTAConfig(
        batch=2, block_in=4, block_out=4, log_uop_buff=10, log_inp_buff=11, log_wgt_buff=11, log_acc_buff=13
    ),
    "wide-in": VTAConfig(block_in=16, block_out=4, log_uop_buff=11, log_inp_buff=12, log_wgt_buff=12, log_acc_buff=12),
    "wide-out": VTAConfig(block_in=4, block_out=16, log_uop_buff=11, log_inp_buff=12, log_wgt_buff=12, log_acc_buff=13),
    "wide-out-batch2": VTAConfig(
        batch=2, block_in=4, block_out=8, log_uop_buff=11, log_inp_buff=12, log_wgt_buff=12, log_acc_buff=13
    ),
    "unsigned": VTAConfig(
        inp_signed=False, block_in=8, block_out=8, log_uop_buff=10, log_inp_buff=11, log_wgt_buff=12, log_acc_buff=12
    ),
    "acc16": VTAConfig(
        inp_width=4,
        wgt_width=2,
        acc_width=16,
        block_in=8,
        block_out=8,
        log_uop_buff=10,
        log_inp_buff=10,
        log_wgt_buff=11,
        log_acc_buff=12,
    ),
    "w1a8": VTAConfig(
        wgt_width=1, block_in=16, block_out=16, log_uop_buff=11, log_inp_buff=13, log_wgt_buff=12, log_acc_buff=14
    ),
}


def compare(
    model: object, cfg: VTAConfig, shape: tuple[int, ...], *, batch: int | None = None, fuse: bool = True
) -> Executor:
    """Run 3 random images on the functional device; every layer and the outputs must equal the reference."""
    program = compile(model, cfg, batch=batch, fuse=fuse)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    x = {"x": rng.normal(0, 4, (3, *shape)).astype(np.float32)}
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run(x, check=True)
    assert executor.report.mismatches_by_layer == {layer.name: 0 for layer in program.layers}
    expected = Executor(program).run(x)
    assert all(np.array_equal(found[name], expected[name]) for name in program.outputs)
    return executor


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_conv(name: str, seed: int) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng([seed, 5])
    for number in range(3):
        net = QdqBuilder(cfg, int(rng.integers(1 << 30)))
        kernel = [int(k) for k in rng.integers(1, 6 if number else 3, 2)]
        dilations = [int(d) for d in rng.integers(1, 3, 2)]
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        pads = [int(rng.integers(0, r + 1)) for r in (*reach, *reach)]
        shape = (int(rng.integers(1, 40)), *(int(rng.integers(r + 1, r + 20)) for r in reach))
        x = net.input("x", ("N", *shape))
        channels = int(rng.integers(1, 40))
        y = net.conv(
            x,
            "layer",
            (channels, shape[0], *kernel),
            relu=bool(rng.integers(2)),
            per_channel=bool(rng.integers(2)),
            bias=bool(rng.integers(2)),
            strides=[int(s) for s in rng.integers(1, 4, 2)],
            dilations=dilations,
            pads=pads,
        )
        executor = compare(net.model(y), cfg, shape, batch=int(rng.integers(1, 4)))
        assert executor.program.layers or name in ("tiny", "passes", "int1", "acc16"), executor.program.offload


@pytest.mark.parametrize("name", CONFIGS)
def test_residual_network(name: str) -> None:
    cfg = CONFIGS[name]
    executor = compare(residual_network(cfg, 3), cfg, (3, 9, 9), fuse=False)
    kinds = {layer.op for layer in executor.program.layers}
    assert kinds == ({"conv"} if cfg.wgt_width == 1 else {"conv", "add"})


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "passes", "batch2", "wide-in", "wide-out", "int2"])
@pytest.mark.parametrize("exponents", [(-3, -3), (-1, -4), (-3, 5)])
def test_add_with_scales_apart(name: str, exponents: tuple[int, int]) -> None:
    cfg = CONFIGS[name]
    net = QdqBuilder(cfg, 4)
    x = net.input("x", ("N", 21, 7, 6))
    a = net.conv(x, "a", (21, 21, 1, 1), exponent=exponents[0])
    b = net.conv(x, "b", (21, 21, 1, 1), exponent=exponents[1])
    executor = compare(net.model(net.add(a, b, "sum", exponent=max(exponents))), cfg, (21, 7, 6), batch=3, fuse=False)
    assert [layer.op for layer in executor.program.layers] == ["conv", "conv", "add"]


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "batch2"])
def test_layers_alone(name: str) -> None:
    cfg = CONFIGS[name]
    program = compile(residual_network(cfg, 6), cfg, batch=2, fuse=False)
    executor = Executor(program, FunctionalDevice(cfg))
    x = np.random.default_rng(2).normal(0, 4, (3, 3, 9, 9))
    outputs = executor.run({"x": x}, layers=["sum", "left1"])
    assert executor.report.mismatches_by_layer == {"sum": 0, "left1": 0}
    assert all(value.shape[0] == 3 for value in outputs.values())
