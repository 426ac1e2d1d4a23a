"""Grouped convolutions and other weights with zero tiles: bit for bit, and without products of zero tiles."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from qdq_models import QdqBuilder
from test_compiler_random import CONFIGS as PLAIN
from test_compiler_random import compare
from test_requant_networks import CONFIGS as REQUANT
from test_requant_networks import images, run_both, steps_apart
from vta_arch.isa import Opcode
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_sw.compiler import compile
from vta_sw.cycles.compute_unit import steps_of
from vta_sw.lower import weight_tiles
from vta_sw.models import NetworkBuilder
from vta_sw.quantize import quantize

WIDE = [name for name, cfg in REQUANT.items() if cfg.wgt_width > 1]
SHAPES = [
    # groups, input and output channels of a group
    (2, 2, 2),
    (4, 1, 2),
    (3, 5, 2),
    (2, 24, 16),
    (8, 4, 4),
    (5, 16, 1),
]


def products(program: Program) -> int:
    """Products of all layers, in vectors."""
    insns = program.instructions()
    return sum(steps_of(program.config, insn) for insn in insns if insn.opcode == Opcode.GEMM)


@pytest.mark.parametrize("name", WIDE)
def test_groups(name: str) -> None:
    cfg = REQUANT[name]
    for number, (groups, depth, outputs) in enumerate(SHAPES):
        net = QdqBuilder(cfg, number, any_scale=True)
        shape = (groups * depth, 7, 6)
        y = net.conv(
            net.input("x", ("N", *shape)),
            "layer",
            (groups * outputs, depth, 3, 3),
            group=groups,
            strides=[1 + number % 2, 1],
            pads=[1, 0, 1, 1],
        )
        program, _ = run_both(net.model(y), cfg, images(shape), 1)
        assert program.layers[0].macs == np.prod(program.tensors[program.layers[0].output].shape) * depth * 9


@pytest.mark.parametrize("name", ["tiny", "classic", "int4", "batch2", "acc16"])
def test_groups_by_passes(name: str) -> None:
    cfg = PLAIN[name]
    for number, (groups, depth, outputs) in enumerate(SHAPES[:5]):
        net = QdqBuilder(cfg, number)
        x = net.input("x", ("N", groups * depth, 6, 6))
        y = net.conv(x, "layer", (groups * outputs, depth, 3, 3), group=groups, pads=[1, 1, 1, 1])
        executor = compare(net.model(y), cfg, (groups * depth, 6, 6))
        assert len(executor.program.layers) == 1, executor.program.offload


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_groups_beside_onnxruntime(name: str) -> None:
    cfg = REQUANT[name]
    net = QdqBuilder(cfg, 5, any_scale=True)
    x = net.input("x", ("N", 48, 16, 16))
    y = net.conv(x, "layer", (32, 12, 3, 3), pads=[1, 1, 1, 1], group=4)
    apart = steps_apart(net.model(y), cfg, (48, 16, 16), 1, net.scales[y])
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size + 1


def test_only_blocks_of_the_same_group_are_multiplied() -> None:
    """Four groups of one block each: a quarter of the products and of the weights."""
    cfg = REQUANT["pynq-z1"]
    found = {}
    for groups in (1, 4):
        net = QdqBuilder(cfg, 1, any_scale=True)
        x = net.input("x", ("N", 64, 8, 8))
        model = net.model(net.conv(x, "layer", (64, 64 // groups, 3, 3), pads=[1, 1, 1, 1], group=groups))
        found[groups] = compile(model, cfg)
    assert products(found[1]) == 4 * products(found[4]) == 64 * 16 * 9
    sizes = [len(found[groups].segment("weights").data) for groups in (1, 4)]
    assert sizes == [16 * 9 * 256, 4 * 9 * 256]


def pruned(net: QdqBuilder, y: str) -> onnx.ModelProto:
    """The network with zeros in most tiles of the weight of ``layer``, and in all of some output channels."""
    model = net.model(y)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "layer_w_q")
    values = numpy_helper.to_array(weight).astype(np.int8).copy()
    for o, i in np.ndindex(-(-values.shape[0] // 8), -(-values.shape[1] // 8)):
        place = values[8 * o : 8 * o + 8, 8 * i : 8 * i + 8]
        place[..., net.rng.random(values.shape[2:]) < 0.7] = 0
    values[8:24] = 0
    weight.CopyFrom(helper.make_tensor(weight.name, weight.data_type, values.shape, values.reshape(-1).tolist()))
    return model


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "batch2"])
def test_pruned_weights(name: str) -> None:
    """Zero tiles anywhere, whole output blocks of them too: each output block is still started by a product."""
    for cfg in (REQUANT[name], PLAIN[name]):
        requant = "requant" in cfg.extensions
        net = QdqBuilder(cfg, 4, any_scale=requant)
        x = net.input("x", ("N", 70, 9, 9))
        model = pruned(net, net.conv(x, "layer", (40, 70, 3, 3), pads=[1, 1, 1, 1]))
        executor = compare(model, cfg, (70, 9, 9))
        assert len(executor.program.layers) == 1
        dense = 81 * -(-40 // cfg.block_out) * -(-70 // cfg.block_in) * 9
        assert products(executor.program) < dense * (0.6 if cfg.block_in * cfg.block_out <= 64 else 1)


def test_groups_of_one_bit_weights_have_a_reason() -> None:
    cfg = PLAIN["int1"]
    net = QdqBuilder(cfg, 1)
    program = compile(net.model(net.conv(net.input("x", ("N", 4, 6, 6)), "layer", (4, 2, 3, 3), group=2)), cfg)
    assert "a 1-bit weight cannot be 0" in program.offload["layer"]


def test_absurd_sizes_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_tiles, "PLACES_LIMIT", 100)
    cfg = load_preset("tiny")
    net = QdqBuilder(cfg, 1)
    x = net.input("x", ("N", 64, 6, 6))
    program = compile(net.model(net.conv(x, "layer", (64, 1, 3, 3), group=64)), cfg)
    assert [layer.name for layer in program.layers] == ["layer"]  # depthwise needs no tiles of other channels
    net = QdqBuilder(cfg, 1)
    x = net.input("x", ("N", 64, 6, 6))
    program = compile(net.model(net.conv(x, "layer", (64, 2, 3, 3), group=32)), cfg)
    assert "have more than 100 weight tiles" in program.offload["layer"]


def test_a_grouped_network_is_quantized() -> None:
    """Quantizer and compiler take groups of any number, with the mean error of rounding taken back group by group."""
    cfg = load_preset("pynq-z1")
    net = NetworkBuilder("groups", 3, (8, 12, 12))
    out = net.relu("relu1", net.conv("grouped", "input", 24, 3, group=4))
    out = net.relu("relu2", net.conv("multiplied", out, 48, 3, group=24, bias=True))
    model = net.model(net.dense("fc", net.flatten("flat", net.global_average_pool("pool", out)), 5))
    x = np.random.default_rng(0).normal(size=(8, 8, 12, 12)).astype(np.float32)
    program = compile(quantize(model, cfg, x), cfg, batch=2)
    assert {"grouped", "multiplied"} <= {layer.name for layer in program.layers}
