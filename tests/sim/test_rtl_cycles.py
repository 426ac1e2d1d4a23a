"""Cycles of the RTL that must not grow: the figures of benchmarks/hw.py on small configurations."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from vta_sim.random_configs import named_configs

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "hw.py"
CONFIGS = ("tiny", "int4", "batch2")
LOAD_GROUPS = ("LOAD INP", "LOAD WGT")


def load_benchmark() -> ModuleType:
    """benchmarks/hw.py, which is a script and no package's module."""
    spec = importlib.util.spec_from_file_location("benchmarks_hw", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(BENCHMARK.parent))
    spec.loader.exec_module(module)
    return module


@cache
def figures(name: str) -> dict[tuple[str, str], float]:
    """Every figure by its group and text."""
    return {(figure.group, figure.what): figure.value for figure in load_benchmark().measure(named_configs()[name])}


@pytest.mark.parametrize("name", CONFIGS)
def test_gemm_and_alu(name: str) -> None:
    found = figures(name)
    gemm = {what: value for (group, what), value in found.items() if group == "GEMM"}
    assert all(value == 1 for what, value in gemm.items() if not what.startswith("idle"))
    assert all(value <= 2 for what, value in gemm.items() if what.startswith("idle"))
    for op in ("MIN", "MAX", "ADD", "SHR"):
        assert found["ALU", f"{op} immediate"] == 1
        assert found["ALU", f"{op} tensor-tensor across banks"] == 1
        assert found["ALU", f"{op} tensor-tensor in one bank"] <= 2
    for operand in ("immediate", "tensor-tensor across banks", "tensor-tensor in one bank"):
        assert found["ALU", f"MUL {operand}"] <= 4


@pytest.mark.parametrize("name", CONFIGS)
def test_loads_fill_the_bus(name: str) -> None:
    """One after the other at 95 % of the bus, rows of 64 B at 85 %, INP and WGT side by side."""
    found = figures(name)
    for (group, what), value in found.items():
        if group in LOAD_GROUPS and what.endswith("one after the other"):
            assert value >= 0.95, (group, what)
        if (group in LOAD_GROUPS or group == "LOAD UOP") and what.startswith("rows"):
            assert value >= 0.85, (group, what)
    assert found["side by side", "LOAD INP and WGT, all beats"] >= 0.95


@pytest.mark.parametrize("name", CONFIGS)
def test_stores_and_loads_do_not_hinder_each_other(name: str) -> None:
    assert figures(name)["side by side", "the same, cycles above the slower alone"] <= 16
