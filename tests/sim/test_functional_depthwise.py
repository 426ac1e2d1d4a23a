"""DEPTHWISE on the functional device: a convolution, loops of every shape, and what is an error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, depthwise, encode_stream, encode_uops, finish, load
from vta_arch.isa import Memory
from vta_arch.numerics import wrap
from vta_arch.registers import Errors
from vta_sim.functional import FunctionalDevice
from vta_sim.functional_gemm import EXACT_FLOAT32
from vta_sim.random_configs import named_configs

UOPS, CODE = 0x10000, 0x40000
BASES = {Memory.UOP: UOPS}
Uops = tuple[tuple[int, int, int], ...]
NAMES = ["x-tiny", "x-block16", "x-int4", "x-batch2", "x-acc16", "x-int2"]
CFG = named_configs()["x-block16"]
HALF = CFG.acc_depth // 2


def device_of(cfg: VTAConfig) -> FunctionalDevice:
    """A device with random inputs, weights and accumulators."""
    rng = np.random.default_rng(cfg.fingerprint())
    device = FunctionalDevice(cfg)
    pads = device._pads
    pads.inp[...] = rng.integers(cfg.inp_min, cfg.inp_max + 1, size=pads.inp.shape)
    pads.wgt[...] = rng.integers(cfg.wgt_min, cfg.wgt_max + 1, size=pads.wgt.shape)
    pads.acc[...] = rng.integers(cfg.acc_min, cfg.acc_max + 1, size=pads.acc.shape)
    return device


def run(device: FunctionalDevice, uops: Uops, *insns: Insn) -> Errors:
    cfg = device.config
    device.write(UOPS, encode_uops(cfg, list(uops)).view(np.uint8))
    stream = [load(cfg, Memory.UOP, x_size=len(uops), y_size=1), *insns, finish(cfg)]
    device.write(CODE, encode_stream(cfg, stream))
    return Errors(device.launch(CODE, len(stream), BASES).errors)


def reference(device: FunctionalDevice, uops: Uops, insn: Insn) -> NDArray[np.int64]:
    """Accumulators [depth, batch * block] afterwards, iteration by iteration; no index may wrap."""
    cfg, pads = device.config, device._pads
    taps, outputs = cfg.depthwise_taps, cfg.depthwise_outputs
    acc = pads.acc.astype(np.int64).reshape(-1, cfg.batch, cfg.block_out)
    channels = np.arange(cfg.block_out)
    for outer in range(insn["iter_out"]):
        for inner in range(insn["iter_in"]):
            sums = np.zeros((outputs, cfg.batch, cfg.block_out), dtype=np.int64)
            for fields in uops:
                dst, src, wgt = (
                    value + outer * insn[f"{name}_factor_out"] + inner * insn[f"{name}_factor_in"]
                    for name, value in zip(("dst", "src", "wgt"), fields, strict=True)
                )
                for p, c, t in np.ndindex(outputs, 2, taps):
                    x = pads.inp[src + t][:, channels // 2 * 2 + c].astype(np.int64)
                    sums[p] += x * pads.wgt[wgt][:, (2 * p + c) * taps + t].astype(np.int64)
            for p in range(outputs):
                acc[dst + p] = sums[p] if insn["reset"] else wrap(acc[dst + p] + sums[p], cfg.acc_width)
    return wrap(acc.reshape(len(acc), -1), cfg.acc_width)


SHAPES: dict[str, tuple[Uops, dict[str, int]]] = {
    "one micro-op": (((0, 0, 0),), {"iter_out": 1, "iter_in": 1}),
    "rows": (
        ((0, 0, 0), (0, 7, 1), (0, 14, 2)),
        {"iter_out": 3, "iter_in": 2, "dst_factor_out": 4, "dst_factor_in": 2, "src_factor_out": 7, "src_factor_in": 2},
    ),
    "odd rows": (
        ((0, 0, 0), (0, 7, 1)),
        {"iter_out": 3, "iter_in": 2, "dst_factor_out": 3, "dst_factor_in": 2, "src_factor_out": 7, "src_factor_in": 2},
    ),
    "all overlap": (((3, 1, 2), (2, 2, 1)), {"iter_out": 3, "iter_in": 4, "src_factor_in": 1, "src_factor_out": 2}),
    "falling": (((9, 1, 2), (0, 2, 1)), {"iter_out": 2, "iter_in": 4, "dst_factor_in": 1, "src_factor_in": 1}),
    "other weights": (
        ((0, 0, 0), (4, 1, 1)),
        {"iter_out": 3, "iter_in": 3, "dst_factor_out": 2, "dst_factor_in": 1, "wgt_factor_out": 1, "wgt_factor_in": 2},
    ),
    "dead loops": (((1, 2, 3), (5, 6, 7)), {"iter_out": 5, "iter_in": 7}),
}


@pytest.mark.parametrize("reset", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_loops(name: str, shape: str, reset: int) -> None:
    device = device_of(named_configs()[name])
    uops, loop = SHAPES[shape]
    insn = depthwise(device.config, uop_end=len(uops), reset=reset, one_bank=reset, **loop)
    expected = reference(device, uops, insn)
    assert not run(device, uops, insn)
    np.testing.assert_array_equal(device._pads.acc, expected)


def test_convolution_of_each_channel() -> None:
    """3x3 with unit stride: two neighbouring outputs a step, the second a tap further; pixels are elements."""
    rng, taps, block = np.random.default_rng(3), CFG.depthwise_taps, CFG.block_in
    device = FunctionalDevice(CFG)
    image, weight = rng.integers(-128, 128, size=(6, 8, block)), rng.integers(-128, 128, size=(3, 3, block))
    device._pads.inp[:48, 0] = image.reshape(48, block)
    for row in range(3):
        for o in range(block):
            for p in range(2):
                first = (2 * p + o % 2) * taps + p
                device._pads.wgt[row, o, first : first + 3] = weight[row, :, o]
    uops = tuple((0, 8 * row, row) for row in range(3))
    loop = {"iter_out": 4, "iter_in": 3, "dst_factor_out": 6, "dst_factor_in": 2}
    insn = depthwise(CFG, reset=1, one_bank=1, uop_end=3, src_factor_out=8, src_factor_in=2, **loop)
    assert not run(device, uops, insn)
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))
    expected = np.einsum("yxcij,ijc->yxc", windows, weight)
    np.testing.assert_array_equal(device._pads.acc[:24], expected.reshape(24, block))


@pytest.mark.parametrize("base", [0, HALF])
def test_second_output_wraps_in_its_bank(base: int) -> None:
    device = device_of(CFG)
    before = device._pads.acc.astype(np.int64)
    uop = ((base + HALF - 1, 0, 0),)
    assert run(device, uop, depthwise(CFG, uop_end=1, iter_out=1, iter_in=1)) == Errors.INDEX_RANGE
    other = device_of(CFG)
    assert not run(other, ((base, 0, 0),), depthwise(CFG, uop_end=1, iter_out=1, iter_in=1))
    added = other._pads.acc - before
    expected = before.copy()
    expected[base + HALF - 1] += added[base]
    expected[base] += added[base + 1]
    np.testing.assert_array_equal(device._pads.acc, wrap(expected, CFG.acc_width))


def test_reset_writes_zero_to_the_outputs_of_the_last_micro_op() -> None:
    device = device_of(CFG)
    expected = device._pads.acc.astype(np.int64)
    expected[[5, 6, 8, 9]] = 0
    insn = depthwise(CFG, reset=1, uop_end=2, iter_out=2, iter_in=1, dst_factor_out=3, wgt_factor_out=CFG.wgt_depth - 1)
    assert not run(device, ((1, CFG.inp_depth - 1, CFG.wgt_depth - 1), (5, 0, 0)), insn)
    np.testing.assert_array_equal(device._pads.acc, expected)


ONCE = {"uop_end": 1, "iter_out": 1, "iter_in": 1}
LAST = CFG.inp_depth - CFG.depthwise_taps
RANGES = {
    "taps to the end": (((0, LAST, 0),), depthwise(CFG, **ONCE), 0),
    "taps past the end": (((0, LAST + 1, 0),), depthwise(CFG, **ONCE), Errors.INDEX_RANGE),
    "reset reads no taps": (((0, LAST + 1, 0),), depthwise(CFG, reset=1, **ONCE), 0),
    "overwriting reads them": (((0, LAST + 1, 0),), depthwise(CFG, reset=1, one_bank=1, **ONCE), Errors.INDEX_RANGE),
    "weights": (
        ((0, 0, 1),),
        depthwise(CFG, **{**ONCE, "iter_in": 2}, wgt_factor_in=CFG.wgt_depth - 1),
        Errors.INDEX_RANGE,
    ),
    "outputs to the end": (((HALF - 2, 0, 0),), depthwise(CFG, **ONCE), 0),
    "second output": (((HALF - 1, 0, 0),), depthwise(CFG, **ONCE), Errors.INDEX_RANGE),
    "second output of reset": (((HALF - 1, 0, 0),), depthwise(CFG, reset=1, **ONCE), Errors.INDEX_RANGE),
    "no second output of the first micro-op": (
        ((HALF - 1, 0, 0), (0, 0, 0)),
        depthwise(CFG, **ONCE | {"uop_end": 2}),
        0,
    ),
    "dst of any micro-op": (
        ((2, 0, 0), (0, 0, 0)),
        depthwise(CFG, **ONCE | {"uop_end": 2, "iter_in": 2}, dst_factor_in=2 * HALF - 2),
        Errors.INDEX_RANGE,
    ),
    "banks of any micro-op": (
        ((HALF, 0, 0), (0, 0, 0)),
        depthwise(CFG, one_bank=1, **ONCE | {"uop_end": 2}),
        Errors.ONE_BANK,
    ),
    "one bank": (((HALF, 0, 0), (HALF + 2, 0, 0)), depthwise(CFG, one_bank=1, **ONCE | {"uop_end": 2}), 0),
    "no iteration": (((HALF - 1, LAST + 1, 0),), depthwise(CFG, **{**ONCE, "iter_in": 0}), 0),
    "no micro-op": (((HALF - 1, LAST + 1, 0),), depthwise(CFG, **{**ONCE, "uop_end": 0}), 0),
}


@pytest.mark.parametrize("case", RANGES)
def test_errors(case: str) -> None:
    uops, insn, errors = RANGES[case]
    assert run(device_of(CFG), uops, insn) == errors


def test_long_reduction_of_extreme_values_is_exact() -> None:
    cfg = replace(CFG, log_uop_buff=CFG.log_uop_buff + 2, extensions=frozenset({"depthwise"}))
    device, count = FunctionalDevice(cfg), cfg.uop_depth
    device._pads.inp[...], device._pads.wgt[...] = cfg.inp_min, cfg.wgt_min
    total = count * 2 * cfg.depthwise_taps * cfg.inp_min * cfg.wgt_min
    assert total > EXACT_FLOAT32
    assert not run(device, ((0, 0, 0),) * count, depthwise(cfg, uop_end=count, iter_out=3, iter_in=1))
    assert (device._pads.acc[:2] == wrap(np.array(3 * total), cfg.acc_width)).all()


def test_configuration_without_it_drops_the_opcode() -> None:
    cfg = named_configs()["int4"]
    unknown = Insn(5, finish(cfg).fields)
    assert run(FunctionalDevice(cfg), ((0, 0, 0),), unknown) == Errors.UNKNOWN_OPCODE
