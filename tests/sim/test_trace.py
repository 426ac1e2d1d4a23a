"""The record of a simulation against what is known without it: cycles, counters, tokens and the instructions' loops."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from trace_streams import CONFIGS, MEMORIES, Recorded, config, recorded, stream
from vta_arch.encoding import Insn, decode_stream, encode_stream, finish, gemm, load
from vta_arch.isa import Memory, Opcode, opcodes
from vta_arch.registers import Errors
from vta_sim.rtl import RtlDevice
from vta_sim.trace_device import Launch, TracingDevice
from vta_sim.trace_samples import Samples
from vta_sim.trace_spans import NO_ENGINE, UNITS, Span, UnitTrace, fetch_spans
from vta_sim.trace_waits import Waits

QUEUES = {("load", "compute"): ("next", "prev"), ("compute", "load"): ("prev", "next")}
QUEUES |= {("compute", "store"): ("next", "prev"), ("store", "compute"): ("prev", "next")}
"""(giver, taker): under which names the giver pushes and the taker pops."""


def units(samples: Samples) -> list[UnitTrace]:
    return [UnitTrace(name, samples) for name in UNITS]


def rows(samples: Samples) -> dict[tuple[str, str], list[Span]]:
    """Every row of instructions by unit and engine."""
    found = {(unit.name, engine.name): engine.spans for unit in units(samples) for engine in unit.engines}
    return found | {(unit.name, NO_ENGINE): unit.rest_spans for unit in units(samples)}


def instructions(name: str, launch: Launch) -> list[Insn]:
    """Those that are executed: up to FINISH."""
    insns = decode_stream(config(name), launch.instructions)
    return insns[: [insn.opcode for insn in insns].index(Opcode.FINISH) + 1]


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("memory", MEMORIES, ids=["steady", "stalling"])
def test_tracing_changes_no_cycle_and_no_bit(name: str, memory: object) -> None:
    with RtlDevice(config(name), memory) as device:  # type: ignore[arg-type]
        for run in recorded(name, memory):  # type: ignore[arg-type]
            result, outputs = stream(name, run.seed, device)
            assert run.launch.result == result
            assert all(map(np.array_equal, run.outputs, outputs))
            assert run.cycles == device.cycles
            assert device.driver.counters() == run.counters


def test_sums_are_those_of_the_registers(name: str) -> None:
    bus_bytes = config(name).axi_data_width // 8
    for run in recorded(name):
        samples = run.launch.samples
        assert samples.cycles == run.launch.result.cycles == samples.length.sum()
        assert samples.count(samples["compute.move_GEMM"]) == run.counters["ARRAY_BUSY"]
        assert sum(span.busy for span in rows(samples)["compute", "GEMM"]) == run.counters["ARRAY_BUSY"]
        assert samples.count(samples["store.move_STORE"]) * bus_bytes == run.counters["WRITE_OUT"]
        for reader in samples.names("bus.READ_"):
            assert samples.count(samples[f"bus.READ_{reader}"]) * bus_bytes == run.counters[f"READ_{reader}"]


def test_every_instruction_has_one_place(name: str) -> None:
    for run in recorded(name):
        insns = instructions(name, run.launch)
        fetched = [span.index for span in fetch_spans(run.launch.samples)]
        assert fetched == list(range(len(insns)))
        executed = sorted(span.index for spans in rows(run.launch.samples).values() for span in spans)
        assert executed == [index for index, insn in enumerate(insns) if insn.opcode in opcodes(config(name))]


def test_spans_do_not_overlap(name: str) -> None:
    for run in recorded(name):
        for spans in [*rows(run.launch.samples).values(), fetch_spans(run.launch.samples)]:
            assert all(before.end <= after.begin and before.index < after.index for before, after in pairwise(spans))
            for span in spans:
                assert 0 <= span.issued <= span.end <= run.launch.samples.cycles
                assert 0 <= span.busy <= span.end - span.begin


def test_steps_are_those_of_the_loops(name: str) -> None:
    for run in recorded(name):
        insns = instructions(name, run.launch)
        for engine in ("GEMM", "ALU"):
            for span in rows(run.launch.samples)["compute", engine]:
                insn = insns[span.index]
                if insn.opcode != Opcode[engine]:
                    continue
                uops = max(0, insn["uop_end"] - insn["uop_bgn"])
                assert span.busy == uops * insn["iter_out"] * insn["iter_in"]


def test_loads_go_to_their_loader(name: str) -> None:
    loaders = {"LOAD INP": {Memory.INP}, "LOAD WGT": {Memory.WGT}, "LOAD UOP": {Memory.UOP}}
    loaders["LOAD ACC"] = set(Memory).difference(*loaders.values())
    for run in recorded(name):
        insns = instructions(name, run.launch)
        for (_, engine), spans in rows(run.launch.samples).items():
            if engine in loaders:
                assert {insns[span.index]["memory_type"] for span in spans} <= loaders[engine]
                assert all(span.done == span.end - 1 and span.busy for span in spans)


def test_tokens_come_before_they_are_taken(name: str) -> None:
    for run in recorded(name):
        insns = instructions(name, run.launch)
        of_unit: dict[str, list[Span]] = defaultdict(list)
        for (unit, _), spans in rows(run.launch.samples).items():
            of_unit[unit] = sorted(of_unit[unit] + spans, key=lambda span: span.index)
        for (giver, taker), (push, pop) in QUEUES.items():
            given = [span.done for span in of_unit[giver] if insns[span.index][f"push_{push}"]]
            taken = [span.issued for span in of_unit[taker] if insns[span.index][f"pop_{pop}"]]
            assert all(before < after for before, after in zip(given, taken, strict=False))
            assert len(given) >= len(taken)


def _waits(run: Recorded) -> Waits:
    return Waits(run.launch.samples)


def test_every_cycle_has_a_reason(name: str) -> None:
    """Until its last instruction ends an engine works or waits, never both."""
    for run in recorded(name):
        samples = run.launch.samples
        for unit in units(samples):
            for engine in unit.engines:
                if not engine.spans:
                    continue
                end = engine.spans[-1].end
                moving = samples.count(engine.moving & (samples.begin < end))
                waits = _waits(run).of(unit, engine)
                assert moving + sum(wait.end - wait.begin for wait in waits) == end
                idle = np.ones(end, bool)
                for begin, length in zip(samples.begin[engine.moving], samples.length[engine.moving], strict=True):
                    idle[begin : begin + length] = False
                assert all(idle[wait.begin : wait.end].all() for wait in waits)


def test_waits_name_what_was_missing(name: str) -> None:
    """Waiting for a token ends in the cycle in which the instruction goes; hazards appear where they are provoked."""
    reasons = set()
    for run in recorded(name):
        insns = instructions(name, run.launch)
        for unit in units(run.launch.samples):
            issued = {span.index: span.issued for engine in unit.engines for span in engine.spans}
            issued |= {span.index: span.issued for span in unit.rest_spans}
            for engine in unit.engines:
                for wait in _waits(run).of(unit, engine):
                    reasons.add(wait.reason)
                    if wait.reason.startswith("token from "):
                        pop = QUEUES[wait.reason.removeprefix("token from "), unit.name][1]
                        assert insns[wait.index][f"pop_{pop}"]
                        assert wait.end <= issued[wait.index]
    assert {"token from load", "token from compute", "data: memory latency", "ALU busy"} <= reasons
    assert any(reason.startswith("bank in use") for reason in reasons)


@pytest.mark.parametrize("count", [1, 3])
def test_a_deadlock_is_seen(name: str, count: int) -> None:
    """The engine that never got its instruction waits for the token to the end."""
    cfg = config(name)
    insns = [gemm(cfg, pop_prev=1)] * count + [load(cfg, Memory.INP, pop_next=1), finish(cfg)]
    launches: list[Launch] = []
    with TracingDevice(cfg, on_launch=launches.append) as device:
        device.write(0x1000, encode_stream(cfg, insns))
        result = device.launch(0x1000, len(insns), {})
    assert result.errors == Errors.DEADLOCK
    samples = launches[0].samples
    assert samples.cycles == result.cycles
    compute = units(samples)[1]
    assert compute.engines[0].spans == []
    wait = Waits(samples).of(compute, compute.engines[0])[-1]
    assert (wait.reason, wait.end, wait.index) == ("token from load", samples.cycles, 0)
