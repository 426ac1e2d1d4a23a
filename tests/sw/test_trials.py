"""Tilings chosen in several processes: what one process chooses."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import onnx
import pytest
from qdq_models import QdqBuilder
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError
from vta_arch.presets import load_preset
from vta_sw import refine, trials
from vta_sw.compiler import Compilation
from vta_sw.lower.add import AddLowering
from vta_sw.lower.conv import ConvLowering


def residual_network(cfg: VTAConfig) -> onnx.ModelProto:
    net = QdqBuilder(cfg, 4, any_scale=True)
    x = net.conv(net.input("x", ("N", 8, 10, 10)), "first", (8, 8, 1, 1), relu=True)
    y = net.conv(x, "second", (8, 8, 3, 3), pads=[1, 1, 1, 1])
    return net.model(net.conv(net.add(x, y, "sum"), "last", (12, 8, 3, 3)))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_the_same_for_any_number_of_processes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, made = load_preset(name), []
    monkeypatch.setattr(trials, "_LEAST_STEPS", 0)
    monkeypatch.setattr(refine, "_LEAST_TASKS", 1)
    learn = ConvLowering.learn
    monkeypatch.setattr(ConvLowering, "learn", lambda self, chosen: made.append(self.key()) or learn(self, chosen))
    model = residual_network(cfg)
    alone, beside = (Compilation(model, cfg, processes=processes) for processes in (1, 2))
    alone.run().save(tmp_path / "alone.vta")
    assert not made
    beside.run().save(tmp_path / "beside.vta")
    assert (tmp_path / "beside.vta").read_bytes() == (tmp_path / "alone.vta").read_bytes()
    assert len(made) > 1
    for layer in alone.layers:
        assert beside.tilings(layer.name) == alone.tilings(layer.name)
        lowerings = alone.lowering(layer.name), beside.lowering(layer.name)
        assert isinstance(lowerings[0], ConvLowering | AddLowering)
        assert lowerings[0].cycles() == lowerings[1].cycles()  # type: ignore[union-attr]


def test_a_copy_that_is_ended_from_outside_is_named() -> None:
    def work(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with (
        pytest.raises(ModelError, match=r"one of 2 processes .*out of memory.*taskset"),
        trials.spread(work, 2) as run,
    ):
        run(range(8))


def test_tasks_are_spread_in_order() -> None:
    for processes in (1, 2):
        with trials.spread(lambda number: number * number, processes) as run:
            assert run(range(20)) == [number * number for number in range(20)]
