"""Many random networks: 300 on the functional simulator, 30 of them on the RTL, and on other configurations too."""

from __future__ import annotations

import os

import pytest
from test_random_graphs import run_graph
from vta_arch.presets import load_preset
from vta_sim.functional import FunctionalDevice
from vta_sim.rtl import RtlDevice

FIRST = int(os.environ.get("VTA_FIRST_SEED", "1000"))
"""Seeds from here on: other networks than those of the short test."""
OTHERS = ("tiny", "int4", "mlperf-tiny")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 300))
def test_functional(seed: int) -> None:
    cfg = load_preset("pynq-z1")
    run_graph(seed, cfg, FunctionalDevice(cfg), images=1)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + 100))
def test_functional_of_other_configurations(name: str, seed: int) -> None:
    cfg = load_preset(name)
    run_graph(seed, cfg, FunctionalDevice(cfg), images=1)


@pytest.mark.parametrize("name", ["pynq-z1", *OTHERS])
@pytest.mark.parametrize("seed", range(FIRST, FIRST + 30))
def test_rtl(name: str, seed: int) -> None:
    cfg = load_preset(name)
    run_graph(seed, cfg, RtlDevice(cfg), images=1)
