"""Where layers run: predicted times, the options, and programs that stay right whatever is chosen."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from qdq_models import QdqBuilder, residual_network
from vta_arch.config import VTAConfig
from vta_arch.errors import DataError, ModelError
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import Compilation, compile
from vta_sw.cpu_model import PROFILES, CpuProfile, load_profile, profile_of, save_profile
from vta_sw.explain import explain
from vta_sw.offload import Offload
from vta_sw.placement import Placement, PlacementOptions

CONFIGS = ("tiny", "pynq-z1", "int4")
AUTO = PlacementOptions(Offload.AUTO)
SLOW_HOST = replace(PROFILES["cortex-a9"], float_macs=1e6, bytes_per_second=1e6)
FAST_HOST = replace(PROFILES["cortex-a53"], float_macs=1e15, bytes_per_second=1e15, node_seconds=1e-12)


def placed(cfg: VTAConfig, cpu: CpuProfile, options: PlacementOptions = AUTO) -> tuple[Program, Placement]:
    compilation = Compilation(residual_network(cfg, 1), cfg, placement=options, cpu=cpu, fuse=False, predict=True)
    program = compilation.run()
    assert compilation.placement is not None
    return program, compilation.placement


@pytest.mark.parametrize("name", CONFIGS)
def test_a_slow_host_gives_everything_away_and_a_fast_one_nothing(name: str) -> None:
    cfg = load_preset(name)
    everything, _ = placed(cfg, SLOW_HOST)
    assert {layer.name for layer in everything.layers} == {"stem", "left1", "left2", "short", "sum", "pool", "dense"}
    nothing, placement = placed(cfg, FAST_HOST)
    assert nothing.layers == ()
    assert "would take longer" in nothing.offload["stem"]
    assert placement.crossings == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cut_is_the_best_of_all_choices(name: str) -> None:
    """Against every subset of the layers, on hosts between the two extremes."""
    cfg = load_preset(name)
    for rate in (1e7, 3e7, 1e8, 1e9):
        cpu = replace(PROFILES["cortex-a9"], float_macs=rate, node_seconds=2e-6, launch_seconds=20e-6)
        _, placement = placed(cfg, cpu)
        names = [node.name for node in placement.nodes]
        subsets = chain.from_iterable(combinations(names, count) for count in range(len(names) + 1))
        best = min(placement.seconds(set(subset)) for subset in subsets)
        assert placement.seconds() == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        PlacementOptions(Offload.NONE),
        PlacementOptions(Offload.NONE, force=("left*",)),
        PlacementOptions(Offload.ALL, keep_on_cpu=("sum", "sh?rt")),
        PlacementOptions(Offload.AUTO, keep_on_cpu=("left1",), force=("dense",)),
    ],
)
def test_programs_agree_wherever_their_layers_run(options: PlacementOptions) -> None:
    cfg = load_preset("tiny")
    program, placement = placed(cfg, PROFILES["cortex-a9"], options)
    assert {layer.name for layer in program.layers} == placement.chosen
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    everywhere = compile(residual_network(cfg, 1), cfg, fuse=False)
    expected = Executor(everywhere, FunctionalDevice(cfg)).run({"x": x})
    found = Executor(program, FunctionalDevice(cfg)).run({"x": x})
    for output, values in expected.items():
        steps = np.abs(found[output] - values) / np.float32(2.0**-3)
        assert steps.max() <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_numpy_runs_what_is_left(name: str) -> None:
    """The same outputs as with onnxruntime, quantization, pooling and types below a byte included."""
    cfg = load_preset(name)
    program = compile(residual_network(cfg, 1), cfg)
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    expected = Executor(program, FunctionalDevice(cfg)).run({"x": x})
    found = Executor(program, FunctionalDevice(cfg), cpu=Evaluator.NUMPY).run({"x": x})
    assert all(np.array_equal(found[output], values) for output, values in expected.items())


def test_kept_and_forced_layers() -> None:
    cfg = load_preset("tiny")
    program, placement = placed(cfg, SLOW_HOST, PlacementOptions(Offload.AUTO, keep_on_cpu=("stem",)))
    assert "stem" not in placement.chosen
    assert program.offload["stem"] == "kept on the CPU by --keep-on-cpu"
    _, placement = placed(cfg, FAST_HOST, PlacementOptions(Offload.AUTO, force=("stem",)))
    assert placement.chosen == {"stem"}


def test_fusion_by_name() -> None:
    options = PlacementOptions(no_fuse=("left*", "sum"), keep_on_cpu=("short",))
    assert [options.may_fuse(name) for name in ("left1", "sum", "summary", "short")] == [False, False, True, False]
    with pytest.raises(ModelError, match="--no-fuse 'nobody'"):
        placed(load_preset("tiny"), SLOW_HOST, PlacementOptions(no_fuse=("nobody",)))


def test_mistakes_in_the_options() -> None:
    cfg = load_preset("tiny")
    with pytest.raises(ModelError, match=r"--force 'nobody' names no node .* those are stem, left1"):
        placed(cfg, SLOW_HOST, PlacementOptions(force=("nobody",)))
    with pytest.raises(ModelError, match="'stem' is in both"):
        placed(cfg, SLOW_HOST, PlacementOptions(force=("stem",), keep_on_cpu=("st*",)))
    net = QdqBuilder(cfg)
    source = net.input("x", (1, 8, 6, 6))
    loose = net.node("Conv", [source, net.weight("loose_w", (8, 8, 3, 3), np.full(8, -6))], "loose")
    with pytest.raises(ModelError, match="--force 'loose': the accelerator cannot run it: its result is not used"):
        compile(net.model(loose), cfg, placement=PlacementOptions(force=("loose",)))


def test_explanation() -> None:
    """Every node that is computed has one place, and the totals add up."""
    cfg = load_preset("tiny")
    compilation = Compilation(residual_network(cfg, 1), cfg, placement=AUTO, cpu=SLOW_HOST, fuse=False, predict=True)
    found = explain(compilation)
    names = [node.name for node in found.nodes]
    assert len(names) == len(set(names))
    on_accelerator = [node for node in found.nodes if node.where == "accelerator"]
    assert len(on_accelerator) == 7
    assert all(node.cycles and node.reason for node in on_accelerator)
    assert 0 < found.cycles <= sum(node.cycles or 0 for node in on_accelerator)
    tiled = next(node for node in found.nodes if node.name == "left1")
    assert [item.chosen for item in tiled.alternatives].count(True) == 1
    assert tiled.alternatives[0].cost == min(item.cost for item in tiled.alternatives)
    assert found.to_dict()["seconds"] == found.seconds < found.all_on_cpu_seconds


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_profiles_survive_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"host{suffix}"
    save_profile(PROFILES["cortex-a53"], path)
    assert load_profile(str(path)) == PROFILES["cortex-a53"]


def test_damaged_profiles(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    for text, message in (("name = 'x'", "exactly the keys"), ("[[", "no CPU profile")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            load_profile(str(path))
    save_profile(PROFILES["cortex-a9"], path)
    path.write_text(path.read_text().replace("float_macs = 800000000.0", "float_macs = -1"))
    with pytest.raises(DataError, match="float_macs = -1: must be a number above 0"):
        load_profile(str(path))
    with pytest.raises(DataError, match="neither a file nor one of cortex-a9, cortex-a53"):
        load_profile("missing")


def test_boards_have_profiles() -> None:
    assert profile_of("PYNQ-Z1").name == "cortex-a9"
    assert profile_of("KV260").name == "cortex-a53"
    assert profile_of("").name == "cortex-a9"
