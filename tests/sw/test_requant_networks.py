"""Networks with arbitrary scales and zero points: reference, functional simulator and onnxruntime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from qdq_models import QdqBuilder, residual_network
from test_lower import assert_program_balanced
from vta_arch.config import VTAConfig
from vta_arch.isa import Memory, Opcode
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice
from vta_sw.compiler import compile
from vta_sw.frontend import open_session, run_session
from vta_sw.frontend.graph import Graph
from vta_sw.lower.add import digit_steps
from vta_sw.quantize import quantize

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def with_requant(name: str, **changes: object) -> VTAConfig:
    cfg = load_preset(name)
    extensions = (cfg.extensions - {"depthwise"}) | {"requant", "pad_value"}
    return dataclasses.replace(cfg, extensions=extensions, **changes)  # type: ignore[arg-type]


CONFIGS = {
    **{name: with_requant(name) for name in ("tiny", "pynq-z1", "int4", "int2", "int1", "w4a8", "classic")},
    "few": with_requant("tiny", log_req_depth=1),
    "unsigned": with_requant("tiny", inp_signed=False),
    "batch2": with_requant("tiny", batch=2, log_inp_buff=11, log_acc_buff=13),
    "wide-in": with_requant("tiny", block_in=16, log_inp_buff=12, log_wgt_buff=12, log_uop_buff=11),
    "wide-out": with_requant("tiny", block_out=16, log_wgt_buff=12, log_acc_buff=13, log_uop_buff=11),
}


def run_both(model: object, cfg: VTAConfig, x: np.ndarray, layers: int) -> tuple[Program, dict[str, np.ndarray]]:
    """The program and its outputs; the functional simulator must equal the reference in every layer."""
    program = compile(model, cfg)  # type: ignore[arg-type]
    assert len(program.layers) == layers, program.offload
    assert all("requant" in layer.arrays for layer in program.layers)
    assert_program_balanced(program)
    executor = Executor(program, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)
    assert executor.report.mismatches == 0, executor.report.mismatches_by_layer
    return program, found


def images(shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 4, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_convolutions(name: str, seed: int) -> None:
    cfg, rng = CONFIGS[name], np.random.default_rng([seed, 7])
    net = QdqBuilder(cfg, seed, any_scale=True)
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    channels, outputs = (int(c) for c in rng.integers(1, 40, 2))
    shape = channels, *(int(size) for size in rng.integers(4, 16, 2))
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)] if cfg.wgt_width > 1 else [0, 0, 0, 0]
    x = net.input("x", ("N", *shape))
    y = net.conv(x, "layer", (outputs, channels, *kernel), relu=bool(seed % 2), pads=pads, strides=[1 + seed % 2, 1])
    run_both(net.model(y), cfg, images(shape), 1)


@pytest.mark.parametrize("name", [name for name, cfg in CONFIGS.items() if cfg.wgt_width > 1])
def test_residual_network(name: str) -> None:
    model = residual_network(CONFIGS[name], 3, any_scale=True)
    pools = int(CONFIGS[name].block_in == CONFIGS[name].block_out)
    program, found = run_both(model, CONFIGS[name], images((3, 9, 9)), 6 + pools)
    expected = Executor(program).run({"x": images((3, 9, 9))})
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def steps_apart(model: object, cfg: VTAConfig, shape: tuple[int, ...], layers: int, scale: float) -> np.ndarray:
    """How many output steps the program is from onnxruntime, element by element."""
    x = images(shape, 8)
    _, found = run_both(model, cfg, x, layers)
    (name, value), *_ = found.items()
    exact = min(cfg.inp_width, cfg.wgt_width) < 8  # onnxruntime's optimizer refuses what has no zero points
    expected = run_session(open_session(model, exact=exact), [name], {"x": x})[0]  # type: ignore[arg-type]
    return np.abs(np.rint((value.astype(np.float64) - expected) / scale))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "unsigned", "w4a8", "int4"])
def test_a_layer_is_as_close_to_onnxruntime_as_promised(name: str) -> None:
    """At most one output in 10,000 of a convolution, a dense layer and an addition differs, by one step."""
    cfg = CONFIGS[name]
    differing = total = 0
    for kind in ("conv", "dense", "add"):
        net = QdqBuilder(cfg, 5, any_scale=True)
        shape = (512,) if kind == "dense" else (24, 24, 24)
        x = net.input("x", ("N", *shape))
        if kind == "dense":
            y = net.conv(x, "layer", (512, 512, 1, 1), dense=True)
        else:
            y = net.conv(x, "layer", (24, 24, 3, 3), pads=[1, 1, 1, 1])
        if kind == "add":
            z = net.conv(x, "other", (24, 24, 1, 1), exponent=-2)
            y = net.add(y, z, "sum", exponent=-2)
        apart = steps_apart(net.model(y), cfg, shape, 3 if kind == "add" else 1, net.scales[y])
        print(f"{name}, {kind}: {np.count_nonzero(apart)} of {apart.size} outputs differ")
        assert apart.max() <= 1
        differing, total = differing + int(np.count_nonzero(apart)), total + apart.size
    assert differing <= 1e-4 * total + 1


def test_no_passes_and_one_load_of_parameters() -> None:
    """STORE does it all: no ALU instruction, and several output blocks in one STORE."""
    cfg = CONFIGS["pynq-z1"]
    net = QdqBuilder(cfg, 2, any_scale=True)
    x = net.input("x", ("N", 64, 14, 14))
    program, _ = run_both(
        net.model(net.conv(x, "layer", (64, 64, 3, 3), pads=[1, 1, 1, 1])), cfg, images((64, 14, 14)), 1
    )
    insns = program.instructions()
    assert not any(insn.opcode == Opcode.ALU for insn in insns)
    loads = [insn for insn in insns if insn.opcode == Opcode.LOAD and insn["memory_type"] == Memory.REQ]
    assert [insn["x_size"] for insn in loads] == [4]
    stores = [insn for insn in insns if insn.opcode == Opcode.STORE and insn["x_size"]]
    assert all(insn["requant"] for insn in stores)
    assert any(insn["req_rows"] for insn in stores)
    waits = insns[insns.index(loads[0]) + 1]
    assert (waits.opcode, waits["x_size"], waits["pop_prev"], loads[0]["push_next"]) == (Opcode.STORE, 0, 1, 1)


def test_parameters_that_do_not_fit_are_loaded_tile_by_tile() -> None:
    """Two vectors of parameters on the chip, ten output blocks."""
    cfg = CONFIGS["few"]
    net = QdqBuilder(cfg, 2, any_scale=True)
    x = net.input("x", ("N", 8, 12, 12))
    program, _ = run_both(
        net.model(net.conv(x, "layer", (40, 8, 3, 3), pads=[1, 1, 1, 1])), cfg, images((8, 12, 12)), 1
    )
    loads = [
        insn for insn in program.instructions() if insn.opcode == Opcode.LOAD and insn["memory_type"] == Memory.REQ
    ]
    assert len(loads) >= 10
    assert {insn["x_size"] for insn in loads} == {1}


def test_zero_points_need_padding_with_a_value() -> None:
    cfg = with_requant("tiny")
    cfg = dataclasses.replace(cfg, extensions=cfg.extensions - {"pad_value"})
    net = QdqBuilder(cfg, 3, any_scale=True)
    net.zero_points = 100
    x = net.input("x", (1, 4, 6, 6))
    inner = net.conv(x, "inner", (4, 4, 1, 1))
    program = compile(net.model(net.conv(inner, "padded", (4, 4, 3, 3), pads=[1, 1, 1, 1])), cfg)
    assert [layer.name for layer in program.layers] == ["inner"]
    assert "pad_value" in program.offload["padded"]


def test_programs_are_read_back(tmp_path: Path) -> None:
    cfg = CONFIGS["tiny"]
    program = compile(residual_network(cfg, 3, any_scale=True), cfg)
    program.save(tmp_path / "network.vta")
    again = Program.load(tmp_path / "network.vta")
    x = images((3, 9, 9))
    executor = Executor(again, FunctionalDevice(cfg))
    found = executor.run({"x": x}, check=True)
    assert executor.report.mismatches == 0
    assert all(np.array_equal(value, Executor(program).run({"x": x})[name]) for name, value in found.items())


@pytest.mark.parametrize("width", [2, 4, 8])
def test_digits_make_the_factors(width: int) -> None:
    rng = np.random.default_rng(width)
    for _ in range(200):
        factors = int(rng.integers(1, 1 << 14)), int(rng.integers(1, 1 << int(rng.integers(1, 14))))
        found = [0, 0]
        for number, step in enumerate(digit_steps(factors, width)):
            assert (step.shift > 0) == (number > 0)
            found = [value << step.shift for value in found]
            for which, digit in step.terms:
                assert 0 < digit < 1 << (width - 1)
                found[which] += digit
        assert tuple(found) == factors


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(DATA / name) as arrays:
        return arrays["x"].astype(np.float32), arrays["y"].astype(np.int64)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared networks and their data are not on this machine")
def test_resnet20_on_all_test_images() -> None:
    """At most 0.3 points below float, on the functional simulator; one product for each input of an addition."""
    cfg = CONFIGS["pynq-z1"]
    model = quantize(DATA / "resnet20.onnx", cfg, load("cifar10_calibration_resnet20.npz")[0])
    program = compile(model, cfg, batch=20)
    factors = [layer.attributes["factors"] for layer in program.layers if "factors" in layer.attributes]
    assert len(factors) == 9
    assert max(of_shortcut for _, of_shortcut in factors) <= cfg.wgt_max
    x, y = load("cifar10_test_resnet20.npz")
    outputs = Executor(program, FunctionalDevice(cfg)).run({Graph(model).inputs[0].name: x})
    top1 = 100 * float((next(iter(outputs.values())).argmax(axis=1) == y).mean())
    print(f"ResNet-20: {top1:.1f} % of {len(y)} images, 91.5 % in float")
    assert top1 >= 91.5 - 0.3
