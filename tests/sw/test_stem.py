"""Convolutions whose input the CPU packs: the same sums as without packing, and the choice by cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qdq_models import QdqBuilder
from test_compiler_random import CONFIGS as PLAIN
from test_requant_networks import CONFIGS as REQUANT
from test_requant_networks import images, steps_apart
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError
from vta_arch.packing import PackStep
from vta_arch.presets import load_preset
from vta_arch.program import Layer, Program, Tensor
from vta_runtime.executor import Executor
from vta_runtime.packing import pack_windows
from vta_runtime.reference import convolve
from vta_sim.functional import FunctionalDevice
from vta_sw import compiler, stem
from vta_sw.compiler import compile
from vta_sw.cpu_model import CpuProfile, profile_of
from vta_sw.frontend import prepare
from vta_sw.graph import IntLayer, import_graph

CONFIGS = {**{f"{name}-shift": cfg for name, cfg in PLAIN.items()}, **REQUANT}


def random_layer(cfg: VTAConfig, seed: int) -> tuple[onnx.ModelProto, tuple[int, int, int]]:
    """A network of one convolution of few channels, and its input's shape."""
    rng = np.random.default_rng([seed, 31])
    net = QdqBuilder(cfg, seed, any_scale="requant" in cfg.extensions)
    kernel = [int(k) for k in rng.integers(1, 8, 2)]
    dilations = [int(d) for d in rng.integers(1, 4, 2)]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    few = cfg.wgt_width == 1 and "requant" in cfg.extensions
    pads = [0] * 4 if few else [int(rng.integers(0, r + 1)) for r in (*reach, *reach)]
    shape = int(rng.integers(1, 5)), *(int(rng.integers(r + 1, r + 16)) for r in reach)
    x = net.input("x", ("N", *shape))
    y = net.conv(
        x,
        "layer",
        (int(rng.integers(1, 20)), shape[0], *kernel),
        relu=bool(seed % 2),
        strides=[int(s) for s in rng.integers(1, 4, 2)],
        dilations=dilations,
        pads=pads,
    )
    return net.model(y), shape


def sums(layer: IntLayer, x: np.ndarray) -> np.ndarray:
    """The layer's exact convolution sums."""
    names = ("kernel", "strides", "pads", "dilations")
    attributes: dict[str, Any] = {name: getattr(layer, name) for name in names} | {"pad_value": (layer.pad_value,)}
    return convolve(x, layer.weight, Layer("c", "conv", ("x",), "y", attributes))


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "int1"])
@pytest.mark.parametrize("seed", range(6))
def test_every_packing_has_the_same_sums(name: str, seed: int) -> None:
    cfg = REQUANT[name]
    model, _ = random_layer(cfg, seed)
    layer = import_graph(prepare(model, batch=2), cfg).layers[0]
    source = layer.inputs[0]
    x = np.random.default_rng(seed).integers(source.low, source.high + 1, source.shape).astype(np.int8)
    expected = sums(layer, x)
    for rows in range(1, layer.kernel[0] + 1):
        step, packed = stem.pack_layer(layer, rows, "p")
        tensor = packed.inputs[0]
        values = pack_windows(step, x, Tensor("p", tensor.shape, tensor.dtype))
        assert np.array_equal(sums(packed, values), expected), (rows, layer)
        assert packed.macs == layer.macs
        assert tensor.low <= values.min()
        assert values.max() <= tensor.high


def run(program: Program, x: np.ndarray) -> dict[str, np.ndarray]:
    executor = Executor(program, FunctionalDevice(program.config))
    found = executor.run({"x": x}, check=True)
    assert executor.report.mismatches_by_layer == {layer.name: 0 for layer in program.layers}
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_equal_those_without_packing(name: str) -> None:
    cfg, packed = CONFIGS[name], 0
    for seed in range(2):
        model, shape = random_layer(cfg, seed)
        whole, plain = (compile(model, cfg, packing=mode) for mode in ("cycles", "none"))
        packed += any(isinstance(step, PackStep) for step in whole.steps)
        assert not any(isinstance(step, PackStep) for step in plain.steps)
        found, expected = run(whole, images(shape)), Executor(plain).run({"x": images(shape)})
        for key, value in found.items():
            if len(plain.layers) == len(whole.layers):
                assert np.array_equal(value, expected[key])
    assert packed


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "unsigned", "w4a8", "int4"])
def test_as_close_to_onnxruntime_as_other_layers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = REQUANT[name]
    monkeypatch.setattr(compiler, "profile_of", lambda _board: packs(1e12))
    net = QdqBuilder(cfg, 5, any_scale=True)
    y = net.conv(net.input("x", ("N", 3, 32, 32)), "layer", (20, 3, 5, 5), pads=[2, 1, 2, 1], strides=[2, 1])
    model = net.model(y)
    assert any(isinstance(step, PackStep) for step in compile(model, cfg).steps)
    apart = steps_apart(model, cfg, (3, 32, 32), 1, net.scales[y])
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size + 1


def packs(rate: float) -> CpuProfile:
    """A processor that moves so many bytes a second."""
    return dataclasses.replace(profile_of(""), tile_bytes_per_second=rate)


def stem_model(cfg: VTAConfig, **changes: Any) -> onnx.ModelProto:
    net = QdqBuilder(cfg, 2, any_scale="requant" in cfg.extensions)
    attributes: dict[str, Any] = {"pads": [3, 3, 3, 3], "strides": [2, 2]} | changes
    return net.model(net.conv(net.input("x", ("N", 3, 64, 64)), "stem", (64, 3, 7, 7), **attributes))


def test_the_choice_weighs_the_time_of_the_cpu() -> None:
    """A slow CPU pads channels, a fast one packs as many rows as the array needs."""
    cfg = load_preset("pynq-z1")
    steps = {}
    for rate in (1e3, 1e8, 1e15):
        program = compile(stem_model(cfg), cfg, cpu=packs(rate))
        steps[rate] = next((step for step in program.steps if isinstance(step, PackStep)), None)
        assert "; instead of " in program.choices["stem"]
        assert "channels padded" in program.choices["stem"]
        assert "(over " in program.choices["stem"]  # some cost more than the chosen one in any case
        assert program.layers[0].macs == 64 * 32 * 32 * 147
    assert steps[1e8] is not None
    assert steps[1e15] is not None
    assert steps[1e15].window[0] >= 3 > steps[1e8].window[0]


def test_zero_rows_are_skipped() -> None:
    """Two rows of seven: the fourth part has one row, whose last block of channels is zero and never multiplied."""
    cfg = load_preset("pynq-z1")
    model = stem_model(cfg)
    layer = import_graph(prepare(model, batch=1), cfg).layers[0]
    _, packed = stem.pack_layer(layer, 2, "p")
    geometry = stem.ConvLowering(stem.Context(cfg), packed).geometry
    assert (geometry.in_blocks, geometry.taps, geometry.products) == (3, 4, 11)


def test_one_bit_weights_take_whole_rows_only() -> None:
    cfg = PLAIN["w1a8"]
    net = QdqBuilder(cfg, 3)
    model = net.model(net.conv(net.input("x", ("N", 3, 16, 16)), "layer", (16, 3, 6, 3), pads=[2, 1, 3, 1]))
    layer = import_graph(prepare(model, batch=1), cfg).layers[0]
    assert {step.window[0] for step, _ in stem.packed_layers(cfg, layer, "p")} == {1, 2, 3, 6}
    program = compile(model, cfg, packing="cycles")
    assert any(isinstance(step, PackStep) for step in program.steps)
    run(program, images((3, 16, 16)))


def test_only_what_the_cpu_makes_is_packed(tmp_path: Path) -> None:
    """The second layer reads the first one's output; a layer alone and a program read back give the same."""
    cfg = REQUANT["tiny"]
    net = QdqBuilder(cfg, 3, any_scale=True)
    first = net.conv(net.input("x", ("N", 2, 12, 12)), "first", (3, 2, 3, 3), pads=[1, 1, 1, 1])
    program = compile(net.model(net.conv(first, "second", (4, 3, 3, 3), pads=[1, 1, 1, 1])), cfg, packing="cycles")
    assert [type(step).__name__ for step in program.steps[:3]] == ["CpuStep", "PackStep", "Region"]
    assert sum(isinstance(step, PackStep) for step in program.steps) == 1
    assert set(program.choices) == {"first"}
    program.save(tmp_path / "p.vta")
    again = Program.load(tmp_path / "p.vta")
    assert (again.steps, again.choices) == (program.steps, program.choices)
    executor = Executor(again, FunctionalDevice(cfg))
    executor.run({"x": images((2, 12, 12))}, layers=["first"])
    assert executor.report.mismatches_by_layer == {"first": 0}


def test_unknown_mode() -> None:
    cfg = load_preset("tiny")
    with pytest.raises(ModelError, match="packing 'much' is unknown; choose one of time, cycles, none"):
        compile(stem_model(cfg), cfg, packing="much")
