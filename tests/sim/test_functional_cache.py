"""Launching the same stream again: what the functional device keeps must never change a result."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, encode_stream, encode_uops, finish, gemm, load, make, store
from vta_arch.isa import INSN_BYTES, Memory, Opcode
from vta_arch.presets import load_preset
from vta_arch.registers import Errors, Status
from vta_runtime.device import RunResult
from vta_sim.functional import FunctionalDevice
from vta_sim.lru import Lru
from vta_sim.random_streams import Flavour, named_configs, random_stream

TINY = load_preset("tiny")
UOPS, INPUTS, WEIGHTS, RESULT, CODE = 0x10000, 0x20000, 0x30000, 0x40000, 0x80000
BASES = {Memory.UOP: UOPS, Memory.INP: INPUTS, Memory.WGT: WEIGHTS, Memory.ACC: RESULT, Memory.OUT: RESULT}


def forgetful(cfg: VTAConfig, insns: int = 0, indices: int = 0) -> FunctionalDevice:
    """A device that keeps no more than this many instructions, and indices of plans."""
    device = FunctionalDevice(cfg)
    device._segments, device._plans = Lru(insns), Lru(indices)
    return device


def launch(device: FunctionalDevice, insns: list[Insn]) -> RunResult:
    device.write(CODE, encode_stream(device.config, insns))
    return device.launch(CODE, len(insns), BASES)


def assert_same_scratchpads(first: FunctionalDevice, second: FunctionalDevice) -> None:
    for name in ("uop", "inp", "wgt", "acc", "req"):
        np.testing.assert_array_equal(getattr(first._pads, name), getattr(second._pads, name), err_msg=name)


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4", "batch2", "acc16", "int1", "x-tiny", "x-int2"])
def test_same_streams_on_other_data(name: str, flavour: Flavour) -> None:
    """Two streams in turn; the third round changes the micro-ops too, and the fourth takes them back."""
    cfg = named_configs().get(name) or load_preset(name)
    rng = np.random.default_rng([cfg.fingerprint(), list(Flavour).index(flavour)])
    cases = [random_stream(cfg, rng, flavour) for _ in range(2)]
    devices = [FunctionalDevice(cfg), forgetful(cfg), forgetful(cfg, insns=60, indices=500)]
    for round_number in range(4):
        for case in cases:
            data = []
            for address, original in case.memory:
                changes = round_number == 2 or address // (1 << 19) != case.bases[Memory.UOP] // (1 << 19)
                data.append((address, rng.bytes(len(original)) if changes else original))
            data.append((case.insn_address, case.instructions))
            found = []
            for device in devices:
                for address, values in data:
                    device.write(address, values)
                result = device.launch(case.insn_address, case.insn_count, case.bases)
                found.append((result, [device.read(address, size).tobytes() for address, size in case.outputs]))
            assert found[0] == found[1] == found[2], case.description
            assert_same_scratchpads(devices[0], devices[1])
    assert len(devices[0]._segments) == 2
    assert len(devices[1]._segments) == len(devices[1]._plans) == 0


def test_again_on_other_data_is_as_on_a_fresh_device() -> None:
    cfg = named_configs()["batch2"]
    case = random_stream(cfg, np.random.default_rng(4), Flavour.OVERLAPPED)
    used = FunctionalDevice(cfg)
    case.run(used)
    rng = np.random.default_rng(5)
    for _ in range(3):
        fresh = FunctionalDevice(cfg)
        outputs = []
        for device in (used, fresh):
            case.run(device)
        for address, size in case.outputs:
            used.write(address, bytes(size))
            fresh.write(address, bytes(size))
        for address, original in case.memory:
            if address // (1 << 19) != case.bases[Memory.UOP] // (1 << 19):
                values = rng.bytes(len(original))
                used.write(address, values)
                fresh.write(address, values)
        for device in (used, fresh):
            result = device.launch(case.insn_address, case.insn_count, case.bases)
            outputs.append((result, [device.read(address, size).tobytes() for address, size in case.outputs]))
        assert outputs[0] == outputs[1]


def test_changed_micro_ops_are_noticed() -> None:
    device = FunctionalDevice(TINY)
    device.write(INPUTS, np.arange(1, 65, dtype=np.uint8))
    device.write(WEIGHTS, np.ones(256, dtype=np.uint8))
    stream = [
        load(TINY, Memory.UOP, x_size=1, y_size=1),
        load(TINY, Memory.INP, x_size=8, y_size=1),
        load(TINY, Memory.WGT, x_size=2, y_size=1, push_next=1),
        gemm(TINY, reset=1, uop_end=1, iter_out=1, iter_in=1, pop_prev=1),
        gemm(TINY, uop_end=1, iter_out=1, iter_in=1, push_next=1),
        store(TINY, x_size=2, y_size=1, pop_prev=1),
        finish(TINY),
    ]
    lanes = TINY.block_in
    for dst, src in [(0, 1), (1, 3), (0, 1), (TINY.acc_depth - 1, 2)]:
        device.write(UOPS, encode_uops(TINY, [(dst, src, 0)]).view(np.uint8))
        assert launch(device, stream).errors == 0
        expected = sum(range(src * lanes + 1, (src + 1) * lanes + 1))
        assert (device._pads.acc[dst] == expected).all()
    device.write(UOPS, encode_uops(TINY, [(0, 0, 0)]).view(np.uint8))
    over = [*stream[:-1], gemm(TINY, uop_end=1, iter_out=2, iter_in=1, src_factor_out=TINY.inp_depth - 1), finish(TINY)]
    for src, errors in [(0, 0), (1, Errors.INDEX_RANGE), (0, 0)]:
        device.write(UOPS, encode_uops(TINY, [(0, src, 0)]).view(np.uint8))
        assert launch(device, over).errors == errors


def test_other_bases_and_other_instructions_at_the_same_address() -> None:
    device = FunctionalDevice(TINY)
    device.write(RESULT, np.full(16, 1, dtype=np.uint8))
    device.write(INPUTS, np.full(16, 2, dtype=np.uint8))
    stream = [load(TINY, Memory.ACC_8BIT, x_size=1, y_size=1), store(TINY, dram_base=9, x_size=1, y_size=1)]
    for base in (RESULT, INPUTS, RESULT):
        device.write(CODE, encode_stream(TINY, [*stream, finish(TINY)]))
        assert device.launch(CODE, 3, {**BASES, Memory.ACC: base}).errors == 0
        assert device.read(RESULT + 36, 4).tolist() == [1 if base == RESULT else 2] * 4
    assert launch(device, [*stream[:1], store(TINY, dram_base=5, x_size=1, y_size=1), finish(TINY)]).errors == 0
    assert device.read(RESULT + 20, 4).tolist() == [1] * 4
    assert launch(device, stream).errors == Errors.NO_FINISH


def test_memory_written_after_it_was_read_as_zero() -> None:
    """Also across the border of two pages of the simulated memory."""
    device = FunctionalDevice(TINY)
    far = (5 << 20) - 64
    bases = {**BASES, Memory.ACC: far}
    stream = [load(TINY, Memory.ACC_8BIT, dram_base=12, x_size=8, y_size=1), store(TINY, x_size=8, y_size=1)]
    device.write(CODE, encode_stream(TINY, [*stream, finish(TINY)]))
    for value in (0, 7, 9):
        if value:
            device.write(far, np.full(128, value, dtype=np.uint8))
        assert device.launch(CODE, 3, bases).errors == 0
        assert device.read(RESULT, 32).tolist() == [value] * 32


def test_long_streams_carry_their_tokens_on() -> None:
    """More instructions than are scheduled at a time; every launch starts without tokens."""
    ahead = [load(TINY, Memory.INP, push_next=1)] * 5000
    after = [load(TINY, Memory.UOP, pop_prev=1)] * 5000
    unknown = Insn(6, make(TINY, Opcode.FINISH).fields)
    device = FunctionalDevice(TINY)
    for _ in range(2):
        assert launch(device, [*ahead, *after, finish(TINY)]).errors == 0
        stuck = launch(device, [*ahead, *after, unknown, after[0], finish(TINY)])
        assert stuck.errors == Errors.DEADLOCK | Errors.UNKNOWN_OPCODE
        assert stuck.status == Status.DONE | Status.ERROR | Status.WAIT_COMPUTE
        assert launch(device, ahead).errors == Errors.NO_FINISH


def test_what_is_kept_is_bounded() -> None:
    device = forgetful(TINY, insns=40, indices=200)
    for start in range(100):
        assert launch(device, [load(TINY, Memory.INP, sram_base=start % 8, dram_base=start), finish(TINY)]).errors == 0
    assert len(device._segments) == 20
    kept = sum(len(chunk) for _, chunk, _ in device._segments._items) // INSN_BYTES
    assert kept == device._segments._weight == 40


def test_least_recently_used_goes_first() -> None:
    cache: Lru[str, int] = Lru(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 5)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.put("too heavy", 4, 11)
    assert cache.get("too heavy") is None
    assert len(cache) == 2
    cache.put("all", 5, 10)
    assert (len(cache), cache.get("all")) == (1, 5)
