"""Thousands of random streams on the RTL and on the functional simulator: ``python -m vta_sim.stream_soak``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.disasm import disassemble
from vta_arch.encoding import decode, encode_stream
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, Opcode

from .functional import FunctionalDevice
from .random_configs import named_configs
from .random_streams import Flavour, StreamCase, random_stream
from .rtl import MemoryModel, RtlDevice

MEMORIES = (
    MemoryModel(),
    MemoryModel(latency=5, backpressure=0.3, seed=1),
    MemoryModel(latency=90, max_reads=2, max_writes=1, beat_interval=3),
    MemoryModel(latency=1, backpressure=0.7, seed=2),
    MemoryModel(latency=1),
)
FLAVOURS = (*Flavour, Flavour.HAZARDS, Flavour.HAZARDS, Flavour.OVERLAPPED)
"""Taken in turn; those that load the compute unit most come more often."""
MAX_CYCLES = 2_000_000
_STREAMS_A_JOB = 50
_TOKEN_BITS = ("pop_prev", "pop_next", "push_prev", "push_next")


@dataclass(frozen=True)
class Outcome:
    """What a job found: streams compared, instructions and cycles in them, and one line for each mismatch."""

    config: str
    streams: int
    insns: int
    cycles: int
    mismatches: tuple[str, ...]


def make_case(cfg: VTAConfig, seed: int, number: int) -> StreamCase:
    """Stream ``number`` of a soak."""
    return random_stream(cfg, np.random.default_rng([seed, number]), FLAVOURS[number % len(FLAVOURS)])


def difference(case: StreamCase, memory: MemoryModel) -> str:
    """How the RTL differs from the functional simulator on fresh devices; empty where it does not."""
    with RtlDevice(case.config, memory, max_cycles=MAX_CYCLES) as device:
        return _compare(case, FunctionalDevice(case.config), device)[0]


def _compare(case: StreamCase, reference: FunctionalDevice, device: RtlDevice) -> tuple[str, int]:
    expected, wanted = case.run(reference)
    try:
        result, found = case.run(device)
    except DeviceError as error:
        return str(error), 0
    if (result.errors, result.status) != (expected.errors, expected.status):
        return f"errors {result.errors} not {expected.errors}, status {result.status} not {expected.status}", 0
    for have, want, (address, _) in zip(found, wanted, case.outputs, strict=True):
        wrong = np.flatnonzero(have != want)
        if wrong.size:
            return f"{wrong.size} bytes differ, the first at {address + int(wrong[0]):#x}", 0
    return "", result.cycles or 0


def shrink(case: StreamCase, memory: MemoryModel) -> StreamCase:
    """A stream that still differs and does less: instructions are left out or, with tokens, do nothing."""
    at = case.insn_count - 1
    while at >= 0:
        start, end = at * INSN_BYTES, (at + 1) * INSN_BYTES
        insn = decode(case.config, int.from_bytes(case.instructions[start:end], "little"))
        idle = {name: 0 for name in ("x_size", "iter_out") if insn.fields.get(name)}
        tokens = any(insn[bit] for bit in _TOKEN_BITS)
        less = encode_stream(case.config, [replace(insn, fields={**insn.fields, **idle})]) if tokens else b""
        shorter = replace(case, instructions=case.instructions[:start] + less + case.instructions[end:])
        if insn.opcode != Opcode.FINISH and shorter != case and difference(shorter, memory):
            case = shorter
        at -= 1
    return case


def soak(name: str, seed: int, numbers: Sequence[int]) -> Outcome:
    """Run streams of the configuration ``name`` on devices that go on from stream to stream."""
    cfg = named_configs()[name]
    memory = MEMORIES[numbers[0] // _STREAMS_A_JOB % len(MEMORIES)]
    insns = cycles = 0
    wrong: list[str] = []
    reference, device = FunctionalDevice(cfg), RtlDevice(cfg, memory, max_cycles=MAX_CYCLES)
    for number in numbers:
        case = make_case(cfg, seed, number)
        text, used = _compare(case, reference, device)
        insns, cycles = insns + case.insn_count, cycles + used
        if text:
            wrong.append(f"stream {number} ({case.description}, {memory}): {text}")
            device.close()
            reference, device = FunctionalDevice(cfg), RtlDevice(cfg, memory, max_cycles=MAX_CYCLES)
    device.close()
    return Outcome(name, len(numbers), insns, cycles, tuple(wrong))


def _jobs(names: Sequence[str], total: int) -> Iterator[tuple[str, range]]:
    """All streams, shared out evenly among the configurations, in jobs of one configuration."""
    for place, name in enumerate(names):
        count = total // len(names) + (place < total % len(names))
        for first in range(0, count, _STREAMS_A_JOB):
            yield name, range(first, min(count, first + _STREAMS_A_JOB))


def run(names: Sequence[str], total: int, seed: int, processes: int) -> list[Outcome]:
    """Run ``total`` streams, printing one line for each configuration; the outcome of every job."""
    outcomes: list[Outcome] = []
    jobs = list(_jobs(names, total))
    left = {name: sum(job[0] == name for job in jobs) for name in names}
    for name in names:
        RtlDevice(named_configs()[name]).close()  # built once, before the processes need it
    with ProcessPoolExecutor(processes) as pool:
        for job in as_completed([pool.submit(soak, name, seed, numbers) for name, numbers in jobs]):
            outcome = job.result()
            outcomes.append(outcome)
            left[outcome.config] -= 1
            if not left[outcome.config]:
                print(_line([item for item in outcomes if item.config == outcome.config]), flush=True)
    return outcomes


def _line(outcomes: Sequence[Outcome]) -> str:
    streams, insns, cycles = (sum(getattr(item, key) for item in outcomes) for key in ("streams", "insns", "cycles"))
    wrong = sum(len(item.mismatches) for item in outcomes)
    found = f"{wrong} MISMATCHES" if wrong else "all agree"
    return f"{outcomes[0].config:14}{streams:6,} streams{insns:9,} instructions{cycles:12,} cycles  {found}"


def show(name: str, seed: int, number: int) -> bool:
    """Print the shortest form found of one stream that differs; whether it does."""
    cfg = named_configs()[name]
    case, memory = make_case(cfg, seed, number), MEMORIES[number // _STREAMS_A_JOB % len(MEMORIES)]
    text = difference(case, memory)
    print(f"{case.description}, {memory}: {text or 'agrees on fresh devices'}")
    if text:
        print("\n".join(disassemble(cfg, shrink(case, memory).instructions)))
    return bool(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a stream differs."""
    known = named_configs()
    parser = argparse.ArgumentParser(prog=f"python -m vta_sim.{Path(__file__).stem}", description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="streams in all (default 2000)")
    parser.add_argument("--config", action="append", choices=sorted(known), help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", type=int, metavar="NUMBER", help="shrink and print one stream of one --config")
    options = parser.parse_args(arguments)
    names = options.config or list(known)
    if options.show is not None:
        return int(show(names[0], options.seed, options.show))
    start = time.monotonic()
    outcomes = run(names, options.streams, options.seed, options.processes)
    wrong = [f"{item.config}: {text}" for item in outcomes for text in item.mismatches]
    print(
        f"{sum(item.streams for item in outcomes):,} streams in {time.monotonic() - start:.0f} s, {len(wrong)} differ"
    )
    print("\n".join(wrong[:20]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
