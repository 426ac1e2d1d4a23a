"""Random networks, quantized and compiled: simulator and reference agree bit for bit, onnxruntime within rounding."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import RandomGraph
from vta_arch.config import VTAConfig
from vta_arch.presets import load_preset
from vta_runtime.device import Device
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.frontend.session import open_session, run_session
from vta_sw.quantize import quantize

CONFIGS = ("pynq-z1", "tiny", "int4", "mlperf-tiny", "classic")
OPERATORS = 6
_FAR = 3.0
"""Steps of the output that an image's mean may be away from onnxruntime's: single steps add up over the layers."""


def run_graph(seed: int, cfg: VTAConfig, device: Device, *, images: int = 2) -> Executor:
    """Quantize, compile and run random network ``seed``; all layers must equal the integer reference."""
    graph = RandomGraph(seed)
    model = graph.build(OPERATORS)
    x = graph.images(8)
    quantized = quantize(model, cfg, x)
    executor = Executor(compile(quantized, cfg), device)
    found = executor.run({"x": x[:images]}, check=True)
    assert executor.report.mismatches_by_layer == {layer.name: 0 for layer in executor.program.layers}
    unchecked = executor.run({"x": x[:images]})
    assert all(np.array_equal(found[name], unchecked[name]) for name in found)
    if cfg.inp_width == 8 and "requant" in cfg.extensions:
        _compare(quantized, x[:images], found)
    return executor


def _compare(quantized: object, x: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """The quantized network in onnxruntime, its Q and DQ computed as they are defined."""
    session = open_session(quantized, exact=True)  # type: ignore[arg-type]
    names = list(found)
    for name, expected in zip(names, run_session(session, names, {"x": x}), strict=True):
        values = np.unique(expected)
        step = np.diff(values).min() if len(values) > 1 else 1.0
        assert np.abs(found[name] - expected).mean() <= _FAR * step


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
def test_random_graphs(name: str, seed: int) -> None:
    cfg = load_preset(name)
    run_graph(seed, cfg, FunctionalDevice(cfg))


@pytest.mark.parametrize("seed", [1035])
def test_graphs_that_once_failed(seed: int) -> None:
    """1035: micro-ops of products were overwritten by those of the steps between their parts."""
    cfg = load_preset("tiny")
    run_graph(seed, cfg, FunctionalDevice(cfg), images=1)
