"""Register map, bus protocol and error responses under cocotb with cocotbext-axi: see ``cocotb_protocol``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from vta_arch.presets import load_preset
from vta_sim.cocotb_device import run_benches


@pytest.mark.skipif(
    not (shutil.which("perl") and shutil.which("make")), reason="Verilator's makefiles need perl and make"
)
def test_benches() -> None:
    """One simulation for all benches, on the build that the other cocotb tests use."""
    run_benches(load_preset("tiny"), Path(__file__).with_name("cocotb_protocol.py"), timeout=240)
