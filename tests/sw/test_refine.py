"""Tilings chosen between neighbours: never slower by the cycle model, and the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from qdq_models import QdqBuilder
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_arch.program import Program, Region
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw import compiler
from vta_sw.cycles.program import region_cycles

CONFIGS = ("tiny", "mlperf-tiny", "int4")
ALLOWED = 1.02
"""The choice is made layer by layer, and fewer instructions are worth a few cycles."""


def network(cfg: VTAConfig) -> onnx.ModelProto:
    """Depthwise and pointwise convolutions in turns: many short layers."""
    net = QdqBuilder(cfg, seed=5, any_scale=True)
    x = net.input("x", (1, 32, 12, 12))
    for number in range(3):
        x = net.conv(x, f"deep{number}", (32, 1, 3, 3), pads=[1, 1, 1, 1], group=32, relu=True)
        x = net.conv(x, f"point{number}", (32, 32, 1, 1), relu=True)
    return net.model(x)


def cycles(program: Program) -> int:
    return sum(region_cycles(program, step) for step in program.steps if isinstance(step, Region))


@pytest.mark.parametrize("name", CONFIGS)
def test_neighbours_do_not_make_a_network_slower(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = load_preset(name)
    model = network(cfg)
    refined = compiler.compile(model, cfg)
    monkeypatch.setattr(compiler, "refine", lambda *_: None)
    plain = compiler.compile(model, cfg)
    assert cycles(refined) <= ALLOWED * cycles(plain)
    executor = Executor(refined, FunctionalDevice(cfg))
    executor.run({"x": np.random.default_rng(1).normal(size=(1, 32, 12, 12))}, check=True)
    assert executor.report.mismatches == 0
