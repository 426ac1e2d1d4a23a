"""The accelerator's RTL against the functional simulator, on random instruction streams."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.encoding import encode_stream, finish, load, store
from vta_arch.isa import Memory
from vta_arch.registers import Errors, Status
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, StreamCase, named_configs, random_stream
from vta_sim.rtl import MemoryModel, RtlDevice

CONFIGS = named_configs()
STREAMS = 36
MAX_CYCLES = 400_000
MEMORIES = [
    MemoryModel(),
    MemoryModel(latency=5, backpressure=0.3, seed=1),
    MemoryModel(latency=90, max_reads=2, max_writes=1, beat_interval=3),
    MemoryModel(latency=1, backpressure=0.7, seed=2),
]


def compare(case: StreamCase, reference: FunctionalDevice, rtl: RtlDevice) -> None:
    expected, wanted = case.run(reference)
    result, found = case.run(rtl)
    assert Errors(result.errors) == Errors(expected.errors), case.description
    for (address, _size), want, have in zip(case.outputs, wanted, found, strict=True):
        differ = np.flatnonzero(want != have)
        assert not differ.size, f"{case.description}: {differ.size} bytes, the first at {address + differ[0]:#x}"


@pytest.mark.parametrize("name", CONFIGS)
def test_random_streams(name: str) -> None:
    """Both devices keep their memory and scratchpads from stream to stream; the memory's timing changes."""
    cfg = CONFIGS[name]
    for part, memory in enumerate(MEMORIES):
        with RtlDevice(cfg, memory, max_cycles=MAX_CYCLES) as rtl:
            reference = FunctionalDevice(cfg)
            for index in range(STREAMS // len(MEMORIES)):
                rng = np.random.default_rng([part, index, len(name)])
                compare(random_stream(cfg, rng, list(Flavour)[(index + part) % len(Flavour)]), reference, rtl)


def test_error_responses_are_sticky_until_the_next_run() -> None:
    cfg = CONFIGS["tiny"]
    for bad, expected in ((0x4000, Errors.AXI_READ), (0x8000, Errors.AXI_WRITE)):
        with RtlDevice(cfg, MemoryModel(error_range=(bad, bad + 64)), max_cycles=MAX_CYCLES) as rtl:
            size = {"x_size": 1, "y_size": 1, "x_stride": 1}
            insns = [
                load(cfg, Memory.ACC, push_next=1, dram_base=0x4000 // cfg.acc_elem_bytes, **size),
                store(cfg, pop_prev=1, push_prev=1, dram_base=0x8000 // cfg.out_elem_bytes, **size),
                finish(cfg, pop_next=1),
            ]
            rtl.write(0x1000, encode_stream(cfg, insns))
            assert rtl.launch(0x1000, len(insns), {}).errors == expected
            rtl.write(0x1000, encode_stream(cfg, [finish(cfg)]))
            result = rtl.launch(0x1000, 1, {})
            assert (result.errors, result.status) == (0, Status.DONE)


def test_deadlock_names_the_waiting_unit_and_is_left_behind() -> None:
    """A run that waits for a token that never comes ends and says so; the next run is not disturbed."""
    cfg = CONFIGS["tiny"]
    with RtlDevice(cfg, max_cycles=MAX_CYCLES) as rtl:
        rtl.write(0x1000, encode_stream(cfg, [load(cfg, Memory.UOP, pop_prev=1), finish(cfg)]))
        result = rtl.launch(0x1000, 2, {})
        assert result.errors & Errors.DEADLOCK
        assert result.status & Status.WAIT_COMPUTE
        rtl.write(0x1000, encode_stream(cfg, [finish(cfg)]))
        assert rtl.launch(0x1000, 1, {}).errors == 0
