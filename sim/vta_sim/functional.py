"""The functional device: executes instruction streams in numpy, bit for bit as the hardware does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.encoding import decode_stream, decode_uops
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, Memory, Opcode, alu_ops, opcodes
from vta_arch.registers import BASE_MEMORIES, NO_INSN, Errors, Status
from vta_runtime.device import RegionAllocator, RunResult, name_blamed

from .loop_plans import Plan, make_plan
from .loops import uop_indices
from .lru import Lru
from .scratchpads import Scratchpads, Step, bind_load, bind_store
from .sparse_memory import SparseMemory
from .token_queues import Job, Scheduler, SchedulerState, make_job

_FETCH = 4096
"""Instructions scheduled at a time."""
_OPCODE_MASK = np.uint8(7)
_KEEP_INSNS = 1 << 17
"""Instructions of all segments that are kept."""
_KEEP_INDICES = 1 << 24
"""Indices of all plans that are kept."""
_KEEP_PLAN = 1 << 18
"""Plans of more indices are made again in each run."""
_OPERATION = 64
"""What an operation weighs, in indices."""


@dataclass(frozen=True)
class Segment:
    """A part of a stream, ready to run on any data: what is executed, in what order, and how it ends.

    ``places`` are those of the steps' instructions, ``dropped`` that of the first one of unknown opcode, and
    ``stuck`` that of the first one that waits at the end.
    """

    steps: tuple[Step, ...]
    places: tuple[int, ...]
    errors: Errors
    dropped: int | None
    stuck: int | None
    state: SchedulerState
    waiting: Status
    finished: bool


_START = Segment((), (), Errors(0), None, None, SchedulerState(), Status(0), finished=False)


class FunctionalDevice:
    """A :class:`vta_runtime.device.Device` without a clock: exact results, no cycles.

    Scratchpads are zero bits at first and persist between launches; tokens and errors do not. Memory
    that was never written reads zero, over the configuration's whole address width. Where a stream
    leaves the order of two accesses open, one of the legal orders is taken.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self.config = cfg
        self.window: tuple[int, int] | None = None
        self._dram = SparseMemory(cfg.axi_addr_width)
        self._pads = Scratchpads(cfg)
        self._regions = RegionAllocator(1, 1 << cfg.axi_addr_width)
        self._segments: Lru[tuple[SchedulerState, bytes, tuple[int, ...]], Segment] = Lru(_KEEP_INSNS)
        self._plans: Lru[tuple[bytes, bytes], Plan] = Lru(_KEEP_INDICES)
        # The products are small: BLAS threads spend longer waiting for each other than multiplying.
        self._blas = ThreadpoolController()

    # Memory --------------------------------------------------------------------------------
    def write(self, address: int, data: NDArray[np.uint8] | bytes) -> None:
        """Copy bytes to memory. Raises DeviceError outside the address space."""
        flat = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        flat = flat.reshape(-1).view(np.uint8)
        self._check_range(address, flat.size)
        self._dram.write(address, flat)

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """A copy of ``size`` bytes of memory. Raises DeviceError outside the address space."""
        self._check_range(address, size)
        return self._dram.read(address, size).copy()

    def allocate(self, size: int) -> int:
        """Address of a fresh region, 4 KiB aligned. Raises DeviceError when the address space is full."""
        return self._regions.allocate(size)

    def close(self) -> None:
        """Nothing to release."""

    def _check_range(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self._dram.size:
            raise DeviceError(
                f"{size} bytes at address {address:#x}: outside the {self.config.axi_addr_width}-bit address space; "
                "choose a lower address or raise axi_addr_width"
            )

    # Launch --------------------------------------------------------------------------------
    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Run ``insn_count`` instructions from ``insn_address`` to the end. See :class:`Device`."""
        checked = self._checked_bases(bases)
        self._check_aligned("instruction stream", insn_address)
        if not 0 <= insn_count < 1 << 32:
            raise DeviceError(f"{insn_count} instructions: the count register holds 0 to {(1 << 32) - 1}")
        end, errors, blamed, first = _START, 0, NO_INSN, 0
        with self._blas.limit(limits=1, user_api="blas"):
            for first in range(0, insn_count, _FETCH):
                chunk = self._fetch(insn_address + first * INSN_BYTES, min(_FETCH, insn_count - first))
                end = self._segment(end.state, chunk, checked)
                errors |= int(end.errors)
                if end.dropped is not None:
                    blamed = min(blamed, first + end.dropped)
                for step, place in zip(end.steps, end.places, strict=True):
                    found = step()
                    if found:
                        errors |= found
                        blamed = min(blamed, first + place)
                if end.finished:
                    break
        if end.waiting:
            errors |= int(Errors.DEADLOCK)
            if end.stuck is not None:
                blamed = min(blamed, first + end.stuck)
        if not end.finished:
            errors |= int(Errors.NO_FINISH)
        status = Status.DONE | end.waiting | (Status.ERROR if errors else Status(0))
        error_insn = None if blamed == NO_INSN else blamed
        result = RunResult(cycles=None, errors=errors, status=int(status), error_insn=error_insn)
        return name_blamed(self, insn_address, result)

    def _checked_bases(self, bases: Mapping[Memory, int]) -> dict[Memory, int]:
        values = {memory: int(bases.get(memory, 0)) for memory in BASE_MEMORIES}
        for memory, value in values.items():
            self._check_aligned(f"base of {memory.name}", value)
        return {**values, Memory.ACC_8BIT: values[Memory.ACC], Memory.REQ: values[Memory.ACC]}

    def _check_aligned(self, what: str, address: int) -> None:
        if address % BASE_ALIGNMENT or not 0 <= address < self._dram.size:
            raise DeviceError(
                f"{what} at {address:#x}: must be a multiple of {BASE_ALIGNMENT} below {self._dram.size:#x}"
            )

    # Preparation ---------------------------------------------------------------------------
    def _fetch(self, address: int, count: int) -> bytes:
        """Up to ``count`` instructions from ``address``, the first FINISH being the last of them."""
        stream = self._dram.read(address, count * INSN_BYTES)
        ends = np.flatnonzero(stream[::INSN_BYTES] & _OPCODE_MASK == Opcode.FINISH)
        return stream[: (int(ends[0]) + 1) * INSN_BYTES if len(ends) else None].tobytes()

    def _segment(self, state: SchedulerState, chunk: bytes, bases: Mapping[Memory, int]) -> Segment:
        """The segment of the instructions ``chunk``, dispatched in ``state``."""
        key = state, chunk, tuple(bases.values())
        segment = self._segments.get(key)
        if segment is None:
            segment = self._schedule(state, chunk, bases)
            self._segments.put(key, segment, len(chunk) // INSN_BYTES + sum(map(len, segment.state.waiting)))
        return segment

    def _schedule(self, state: SchedulerState, chunk: bytes, bases: Mapping[Memory, int]) -> Segment:
        """Which of the instructions run, in what order: it depends on nothing but their tokens."""
        order: list[Job] = []
        dropped = None

        def execute(job: Job) -> Errors:
            order.append(job)
            return Errors(0)

        scheduler = Scheduler(execute, state=state)
        finished = False
        known = opcodes(self.config)
        for place, insn in enumerate(decode_stream(self.config, chunk)):
            if insn.opcode in known:
                word = chunk[place * INSN_BYTES : (place + 1) * INSN_BYTES]
                scheduler.dispatch(make_job(insn, word, place))
            else:
                dropped = place if dropped is None else dropped
                scheduler.errors |= Errors.UNKNOWN_OPCODE
            finished = insn.opcode == Opcode.FINISH
        scheduler.run()
        bound = [(step, job.place) for job in order if (step := self._bind(job, bases)) is not None]
        return Segment(
            steps=tuple(step for step, _place in bound),
            places=tuple(place for _step, place in bound),
            errors=scheduler.errors,
            dropped=dropped,
            stuck=scheduler.first_waiting(),
            state=scheduler.state(len(chunk) // INSN_BYTES),
            waiting=scheduler.waiting(),
            finished=finished,
        )

    def _bind(self, job: Job, bases: Mapping[Memory, int]) -> Step | None:
        """What an instruction does; None for nothing."""
        match job.insn.opcode:
            case Opcode.LOAD:
                return bind_load(self._pads, self._dram, bases, job.insn)
            case Opcode.STORE:
                return bind_store(self._pads, self._dram, bases, job.insn)
            case Opcode.GEMM | Opcode.DEPTHWISE | Opcode.ALU:
                return self._bind_loops(job)
        return None

    def _bind_loops(self, job: Job) -> Step | None:
        insn, uops, plans = job.insn, self._pads.uop, self._plans
        if insn.opcode == Opcode.ALU and insn["alu_opcode"] not in alu_ops(self.config):
            return partial(int, Errors.UNKNOWN_OPCODE)
        indices = uop_indices(self.config, insn)
        if not len(uops[indices]):
            return None

        def step() -> int:
            # What the plan depends on besides the instruction is looked at each time: the micro-ops in memory.
            words = uops[indices].tobytes()
            plan = plans.get((job.word, words)) or self._plan(job, words)
            for operation in plan.operations:
                operation()
            return plan.errors

        return step

    def _plan(self, job: Job, words: bytes) -> Plan:
        """The plan of a job that finds these micro-ops, kept unless it is very large."""
        table = decode_uops(self.config, np.frombuffer(words, dtype=np.uint32))
        plan = make_plan(self._pads, job.insn, table)
        if plan.indices > _KEEP_PLAN:
            return plan
        kept = tuple(plan.operations)
        plan = replace(plan, operations=kept)
        self._plans.put((job.word, words), plan, plan.indices + len(words) + _OPERATION * len(kept))
        return plan
