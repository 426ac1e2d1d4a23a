"""Requantization on the functional device: which parameters are used, when, and what is an error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, load, store
from vta_arch.isa import AluOp, Memory
from vta_arch.presets import load_preset
from vta_arch.registers import Errors
from vta_arch.requant import RequantParams, requantize
from vta_sim.functional import FunctionalDevice
from vta_sim.random_configs import named_configs
from vta_sim.requant_vectors import random_requant

CFG = named_configs()["x-tiny"]
UOPS, DATA, RESULT, CODE = 0x10000, 0x20000, 0x30000, 0x40000
PARAMS = DATA + 0x8000
COUNT = 20
"""Accumulators and vectors of parameters in memory."""


class Case:
    """A device whose memory holds random accumulators and parameters."""

    def __init__(self, cfg: VTAConfig = CFG) -> None:
        rng = np.random.default_rng(cfg.fingerprint())
        self.cfg, self.device = cfg, FunctionalDevice(cfg)
        self.acc = rng.integers(-3000, 3000, size=(COUNT, cfg.batch * cfg.block_out))
        self.params = random_requant(cfg, rng, COUNT)
        self.device.write(DATA, self.acc.astype(f"<i{cfg.acc_width // 8}").view(np.uint8).reshape(-1))
        self.put(self.params)

    def put(self, params: RequantParams) -> None:
        self.device.write(PARAMS, params.pack().reshape(-1))

    def parameters(self, first: int = 0, count: int = 0, **fields: int) -> Insn:
        base = (PARAMS - DATA) // self.cfg.req_elem_bytes
        size = {"x_size": count or min(COUNT, self.cfg.req_depth), "y_size": 1}
        return load(self.cfg, Memory.REQ, dram_base=base + first, **size, **fields)

    def run(self, *insns: Insn, uops: tuple[tuple[int, int, int], ...] = ((0, 0, 0),)) -> Errors:
        """The instructions after LOAD of accumulators and micro-ops; the unit is known by a token."""
        cfg, device = self.cfg, self.device
        device.write(UOPS, encode_uops(cfg, list(uops)).view(np.uint8))
        fill = load(cfg, Memory.ACC, x_size=COUNT, y_size=1)
        stream = [load(cfg, Memory.UOP, x_size=len(uops), y_size=1), fill, *insns, finish(cfg)]
        device.write(CODE, encode_stream(cfg, stream))
        bases = {Memory.UOP: UOPS, Memory.INP: DATA, Memory.WGT: DATA, Memory.ACC: DATA, Memory.OUT: RESULT}
        return Errors(device.launch(CODE, len(stream), bases).errors)

    def expected(self, rows: slice, index: object) -> NDArray[np.int64]:
        acc = self.acc[rows].reshape(-1, self.cfg.batch, self.cfg.block_out)
        return requantize(acc, self.params[index], self.cfg.acc_width).reshape(len(acc), -1)

    def stored(self, count: int) -> NDArray[np.int8]:
        return self.device.read(RESULT, count * self.cfg.out_elem_bytes).view(np.int8).reshape(count, -1)


@pytest.mark.parametrize("name", ["x-tiny", "x-batch2", "x-block16"])
def test_store_takes_the_parameters_of_the_instruction_or_of_the_row(name: str) -> None:
    case = Case(named_configs()[name])
    sent = {"x_size": 3, "y_size": 2, "x_stride": 3, "requant": 1, "pop_prev": 1}
    assert not case.run(case.parameters(push_next=1), store(case.cfg, req_index=4, **sent))
    np.testing.assert_array_equal(case.stored(6), case.expected(slice(6), 4).astype(np.int8))
    assert not case.run(case.parameters(push_next=1), store(case.cfg, req_index=4, req_rows=1, **sent))
    wanted = np.concatenate([case.expected(slice(3), 4), case.expected(slice(3, 6), 5)])
    np.testing.assert_array_equal(case.stored(6), wanted.astype(np.int8))


def test_same_store_after_other_parameters() -> None:
    """What is kept from one launch to the next does not contain them."""
    case = Case()
    stream = (case.parameters(push_next=1), store(CFG, x_size=4, y_size=1, requant=1, pop_prev=1))
    for seed in (1, 2, 1):
        case.params = random_requant(CFG, np.random.default_rng(seed), COUNT)
        case.put(case.params)
        assert not case.run(*stream)
        np.testing.assert_array_equal(case.stored(4), case.expected(slice(4), 0).astype(np.int8))


DEPTH = CFG.req_depth
ONCE = {"uop_end": 1, "iter_out": 1, "iter_in": 1}
SENT = {"x_size": 1, "y_size": 3, "x_stride": 1}
RANGES = {
    "store last": (store(CFG, requant=1, req_index=DEPTH - 1, **SENT), False),
    "store past": (store(CFG, requant=1, req_index=DEPTH, **SENT), True),
    "rows to the last": (store(CFG, requant=1, req_rows=1, req_index=DEPTH - 3, **SENT), False),
    "rows past": (store(CFG, requant=1, req_rows=1, req_index=DEPTH - 2, **SENT), True),
    "plain store ignores them": (store(CFG, req_rows=1, req_index=0xFFFF, **SENT), False),
    "empty store": (store(CFG, requant=1, req_index=0xFFFF), False),
    "imm last": (alu(CFG, AluOp.REQ, use_imm=1, imm=DEPTH - 1, **ONCE), False),
    "imm past": (alu(CFG, AluOp.REQ, use_imm=1, imm=DEPTH, **ONCE), True),
    "imm has no sign": (alu(CFG, AluOp.REQ, use_imm=1, imm=-1, **ONCE), True),
    "no step": (alu(CFG, AluOp.REQ, use_imm=1, imm=-1, **{**ONCE, "iter_in": 0}), False),
    "src last": (alu(CFG, AluOp.REQ, **{**ONCE, "iter_in": DEPTH}, src_factor_in=1), False),
    "src past": (alu(CFG, AluOp.REQ, **{**ONCE, "iter_in": DEPTH + 1}, src_factor_in=1), True),
    "dst past": (alu(CFG, AluOp.REQ, use_imm=1, **{**ONCE, "iter_in": 3}, dst_factor_in=CFG.acc_depth // 2), True),
    "load": (load(CFG, Memory.REQ, sram_base=DEPTH - 1, x_size=2, y_size=1), True),
}


@pytest.mark.parametrize("case", RANGES)
def test_index_range(case: str) -> None:
    insn, over = RANGES[case]
    assert Case().run(insn) == (Errors.INDEX_RANGE if over else Errors(0))


def test_indices_wrap() -> None:
    case = Case()
    stream = (case.parameters(push_next=1), store(CFG, requant=1, req_index=2 * DEPTH + 5, **SENT, pop_prev=1))
    assert case.run(*stream) == Errors.INDEX_RANGE
    np.testing.assert_array_equal(case.stored(3), case.expected(slice(3), 5).astype(np.int8))
    # -DEPTH + 3 without a sign is 3 beyond a multiple of the depth.
    assert case.run(case.parameters(), alu(CFG, AluOp.REQ, use_imm=1, imm=3 - DEPTH, **ONCE)) == Errors.INDEX_RANGE
    np.testing.assert_array_equal(case.device._pads.acc[:1], case.expected(slice(1), 3))


def test_steps_are_sequential() -> None:
    """Each step of an accumulator requantizes what the one before left."""
    case = Case()
    uops = ((2, 1, 0), (2, 0, 0), (3, 4, 0), (2, 1, 0))
    loop = {"uop_end": len(uops), "iter_out": 3, "iter_in": 2, "src_factor_in": 1}
    assert not case.run(case.parameters(), alu(CFG, AluOp.REQ, **loop), uops=uops)
    acc = case.acc.copy()
    for inner in (0, 1) * 3:
        for dst, src, _ in uops:
            acc[dst] = requantize(acc[dst], case.params[src + inner], CFG.acc_width)
    np.testing.assert_array_equal(case.device._pads.acc[:COUNT], acc)


def test_many_repeats_end_soon() -> None:
    """A rising function of a number, again and again, settles; here at once or after some steps."""
    case = Case()
    loop = {"uop_end": 1, "iter_out": 16383, "iter_in": 16383}
    assert not case.run(case.parameters(), alu(CFG, AluOp.REQ, use_imm=1, imm=2, **loop))
    expected = case.acc[0]
    for _ in range(1000):
        expected = requantize(expected, case.params[2], CFG.acc_width)
    np.testing.assert_array_equal(case.device._pads.acc[0], expected)


def test_one_bank_asks_for_dst_only() -> None:
    case = Case()
    bank = CFG.acc_depth // 2
    declared = alu(CFG, AluOp.REQ, one_bank=1, **{**ONCE, "iter_in": 2}, dst_factor_in=bank)
    assert case.run(declared) == Errors.ONE_BANK
    declared = alu(CFG, AluOp.REQ, one_bank=1, **{**ONCE, "iter_in": 2}, src_factor_in=bank)
    assert case.run(declared) == Errors.INDEX_RANGE


def test_without_the_extension() -> None:
    """The memory and the operation are unknown, and a STORE ignores the bits."""
    cfg = replace(load_preset("tiny"), extensions=frozenset())
    case = Case(cfg)
    assert case.run(load(cfg, Memory.REQ, x_size=1, y_size=1)) == Errors.UNKNOWN_MEMORY
    assert case.run(alu(cfg, AluOp.REQ, **ONCE)) == Errors.UNKNOWN_OPCODE
    ignored = {"reserved": 3, "y_pad_0": 15, "y_pad_1": 15, "x_pad_0": 15, "x_pad_1": 15}
    fill = load(cfg, Memory.UOP, push_next=1)
    assert not case.run(fill, store(cfg, x_size=2, y_size=1, pop_prev=1, **ignored))
    np.testing.assert_array_equal(case.stored(2), case.acc[:2].astype(np.int8))
