"""``vta run --trace``: the file, the summary, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vta_app
from app_networks import images, network, write_files
from vta_app.timeline import layers_of, timeline
from vta_arch.encoding import encode_stream
from vta_arch.errors import DataError, DeviceError
from vta_arch.isa import INSN_BYTES, Opcode
from vta_arch.presets import load_preset
from vta_arch.program import Program, Region
from vta_sim.random_configs import named_configs
from vta_sw.quantize import QConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sim"))
from chrome_rules import check_trace, row_spans

CONFIGS = {"tiny": load_preset("tiny"), "int4": named_configs()["int4"], "batch2": named_configs()["batch2"]}
LAYERS = ["conv", "add", "pool", "dense"]


def layers_in(program: Program) -> list[str]:
    """The pool divides by 36, which is no power of two: it is a layer where STORE requantizes."""
    return [name for name in LAYERS if name != "pool" or "requant" in program.config.extensions]


def compiled(name: str) -> Program:
    cfg = CONFIGS[name]
    return vta_app.compile(vta_app.quantize(network(), cfg, images(), config=QConfig(edge_bits=None)), cfg, fuse=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_of_a_run(name: str, tmp_path: Path) -> None:
    """The same cycles as without; the launches fill the time, and every instruction but FINISH has a layer."""
    program = compiled(name)
    names = layers_in(program)
    plain = vta_app.run(program, images(), backend="rtl", limit=2)
    traced = vta_app.run(program, images(), backend="rtl", limit=2, trace=tmp_path / "t.json")
    assert plain.timeline is None
    assert traced.timeline is not None
    assert traced.cycles == plain.cycles == traced.timeline.cycles
    assert all(np.array_equal(traced.outputs[key], plain.outputs[key]) for key in plain.outputs)
    trace = check_trace((tmp_path / "t.json").read_text())
    assert set(traced.timeline.layers) == set(names)
    assert sum(total.cycles for total in traced.timeline.layers.values()) == traced.cycles
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] == "instruction"]
    assert {span["args"].get("layer") for span in spans if "FINISH" not in span["name"]} == set(names)
    assert all("layer" not in span["args"] for span in spans if "FINISH" in span["name"])
    assert [span["name"] for span in row_spans(trace, "run", "layers")][: len(names)] == names


def test_layers_alone(tmp_path: Path) -> None:
    report = vta_app.run(compiled("tiny"), images(1), backend="rtl", layers=["add"], trace=tmp_path / "t.json")
    trace = check_trace((tmp_path / "t.json").read_text())
    assert [span["name"] for span in row_spans(trace, "run", "launches")] == ["launch 0: add"]
    assert report.timeline is not None
    assert report.timeline.layers["add"].cycles == report.cycles


def test_a_stream_is_recognised_by_its_instructions() -> None:
    program = compiled("tiny")
    find = layers_of(program)
    for name in LAYERS:
        assert [part.name for part in find(program.layer_stream(name))] == [name]
    steps = [step for step in program.steps if isinstance(step, Region)]
    stream = program.instruction_bytes
    for step in steps:
        parts = find(stream[step.first * INSN_BYTES : (step.first + step.count) * INSN_BYTES])
        assert tuple(part.name for part in parts) == step.layers
        assert parts[0].first == 0
        assert sum(part.count for part in parts) == step.count - 1
    assert find(b"") == ()


def test_command(vta: Callable, tmp_path: Path) -> None:
    write_files(tmp_path)
    compiled("tiny").save(tmp_path / "p.vta")
    arguments = ("run", "p.vta", "--input", "data.npz", "--limit", "1", "--backend", "rtl")
    outcome = vta(*arguments, "--trace", "t.json", "--json", "r.json")
    assert outcome.status == 0, outcome
    for text in ("compute GEMM", "store STORE", "longest waits", "array busy", "dense"):
        assert text in outcome.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["timeline"]["cycles"] == report["cycles"]
    assert list(report["timeline"]["layers"]) == LAYERS
    assert check_trace((tmp_path / "t.json").read_text())["otherData"]["cycles"] == report["cycles"]


@pytest.mark.parametrize("backend", ["functional", "reference", "cocotb"])
def test_other_backends_are_refused(backend: str, refused: Callable[..., str], tmp_path: Path) -> None:
    write_files(tmp_path)
    line = refused("run", "p.vta", "--input", "data.npz", "--trace", "t.json", "--backend", backend)
    assert f"backend {backend} " in line
    assert "--backend rtl" in line


def test_a_place_that_cannot_be_written_is_refused_first(refused: Callable[..., str]) -> None:
    line = refused("run", "p.vta", "--input", "data.npz", "--backend", "rtl", "--trace", "nowhere/t.json")
    assert "there is no folder nowhere" in line


@pytest.mark.parametrize("mistake", [DataError("wrong array"), DeviceError("no simulator"), KeyboardInterrupt()])
def test_nothing_is_written_when_nothing_ran(mistake: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(mistake)), timeline(compiled("tiny"), tmp_path / "t.json"):
        raise mistake
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_failed_is_shown(tmp_path: Path) -> None:
    """The first GEMM takes a token that nobody gives: the file says so."""
    program = compiled("tiny")
    insns = program.instructions()
    place = next(n for n, insn in enumerate(insns) if insn.opcode == Opcode.GEMM and not insn["pop_prev"])
    insns[place] = replace(insns[place], fields={**insns[place].fields, "pop_prev": 1})
    old = program.segment("instructions")
    new = replace(old, data=encode_stream(program.config, insns))
    broken = replace(program, segments=tuple(new if segment is old else segment for segment in program.segments))
    with pytest.raises(DeviceError, match="wait"):
        vta_app.run(broken, images(1), backend="rtl", trace=tmp_path / "t.json")
    trace = check_trace((tmp_path / "t.json").read_text())
    last = row_spans(trace, "compute", "GEMM waits")[-1]
    assert last["name"] == "token from load"
    assert last["args"]["cycle"] + last["args"]["cycles"] == trace["otherData"]["cycles"]
