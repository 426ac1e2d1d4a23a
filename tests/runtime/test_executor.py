"""The executor: chunks, checks, layers alone, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qdq_models import residual_network
from vta_arch.errors import DataError, ProgramError
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile

CONFIG = load_preset("tiny")


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(residual_network(CONFIG, 8), CONFIG, batch=2, fuse=False)


def images(count: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(count).normal(0, 4, (count, 3, 9, 9))}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_images(program: Program, count: int) -> None:
    executor = Executor(program, FunctionalDevice(CONFIG))
    found = executor.run(images(count), check=True)
    expected = Executor(program).run(images(count))
    assert (executor.report.images, executor.report.mismatches, executor.report.cycles) == (count, 0, None)
    for name in program.outputs:
        assert found[name].shape == (count, 7)
        assert np.array_equal(found[name], expected[name])


def test_saved_program_gives_the_same(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "p.vta")
    again = Executor(Program.load(tmp_path / "p.vta"), FunctionalDevice(CONFIG)).run(images(3))
    assert all(np.array_equal(value, again[name]) for name, value in Executor(program).run(images(3)).items())


def test_check_finds_the_first_wrong_layer(program: Program) -> None:
    device = FunctionalDevice(CONFIG)
    executor = Executor(program, device)
    weights = program.segment("weights")
    executor.run(images(2), check=True)
    assert executor.report.mismatches == 0
    device.write(executor._on(device, keeps_all=True)._arena + weights.offset, bytes(8))
    executor.run(images(2), check=True)
    assert executor.report.mismatches_by_layer["stem"] > 0
    assert executor.report.mismatches == sum(executor.report.mismatches_by_layer.values())
    executor.run(images(2), layers=["sum"])
    assert executor.report.mismatches_by_layer == {"sum": 0}


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"z": np.zeros((1, 3, 9, 9))}, "the network takes x"),
        ({"x": np.zeros((1, 3, 9, 8))}, "has the shape"),
        ({"x": np.zeros((0, 3, 9, 9))}, "images"),
        ({"x": np.zeros((3, 9, 9))}, "has the shape"),
        ({"x": np.full((1, 3, 9, 9), "a")}, "numeric"),
    ],
)
def test_wrong_inputs(program: Program, inputs: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(DataError, match=text):
        Executor(program).run(inputs)


def test_wrong_device_and_layer(program: Program) -> None:
    with pytest.raises(ProgramError, match="compiled for configuration tiny"):
        Executor(program, FunctionalDevice(load_preset("int4")))
    with pytest.raises(ProgramError, match="no accelerator layer 'nope'"):
        Executor(program).run(images(1), layers=["nope"])
