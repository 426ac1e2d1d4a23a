"""The functional device: executes instruction streams in numpy, bit for bit as the hardware does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.encoding import decode
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, AluOp, Memory, Opcode
from vta_arch.registers import BASE_MEMORIES, Errors, Status
from vta_runtime.device import RegionAllocator, RunResult

from .functional_alu import AluPlan, plan_alu, run_alu
from .functional_gemm import GemmPlan, plan_gemm, run_gemm, run_reset
from .loops import uop_indices
from .scratchpads import Scratchpads, execute_load, execute_store
from .sparse_memory import SparseMemory
from .token_queues import Job, Scheduler, make_job

_FETCH = 4096
"""Instructions decoded at a time."""
_KEEP_JOBS = 1 << 16
_KEEP_PLANS = 4096
_KEEP_UOPS = 1 << 12
"""Plans of instructions with more micro-ops than this are not kept."""


class FunctionalDevice:
    """A :class:`vta_runtime.device.Device` without a clock: exact results, no cycles.

    Scratchpads are zero bits at first and persist between launches; tokens and errors do not. Memory
    that was never written reads zero, over the configuration's whole address width. Where a stream
    leaves the order of two accesses open, one of the legal orders is taken.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self.config = cfg
        self._dram = SparseMemory(cfg.axi_addr_width)
        self._pads = Scratchpads(cfg)
        self._regions = RegionAllocator(1, 1 << cfg.axi_addr_width)
        self._bases: dict[Memory, int] = {}
        self._jobs: dict[bytes, Job | None] = {}
        self._plans: dict[tuple[bytes, bytes], GemmPlan | AluPlan] = {}
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
        self._bases = self._checked_bases(bases)
        self._check_aligned("instruction stream", insn_address)
        if not 0 <= insn_count < 1 << 32:
            raise DeviceError(f"{insn_count} instructions: the count register holds 0 to {(1 << 32) - 1}")
        scheduler = Scheduler(self._execute)
        with self._blas.limit(limits=1, user_api="blas"):
            complete = self._dispatch(scheduler, insn_address, insn_count)
        waiting = scheduler.waiting()
        errors = scheduler.errors
        if waiting:
            errors |= Errors.DEADLOCK
        if not complete:
            errors |= Errors.NO_FINISH
        status = Status.DONE | waiting | (Status.ERROR if errors else Status(0))
        return RunResult(cycles=None, errors=int(errors), status=int(status))

    def _checked_bases(self, bases: Mapping[Memory, int]) -> dict[Memory, int]:
        values = {memory: int(bases.get(memory, 0)) for memory in BASE_MEMORIES}
        for memory, value in values.items():
            self._check_aligned(f"base of {memory.name}", value)
        return {**values, Memory.ACC_8BIT: values[Memory.ACC]}

    def _check_aligned(self, what: str, address: int) -> None:
        if address % BASE_ALIGNMENT or not 0 <= address < self._dram.size:
            raise DeviceError(
                f"{what} at {address:#x}: must be a multiple of {BASE_ALIGNMENT} below {self._dram.size:#x}"
            )

    def _dispatch(self, scheduler: Scheduler, address: int, count: int) -> bool:
        """Fetch and run; True if a FINISH was fetched, after which nothing is dispatched."""
        for start in range(0, count, _FETCH):
            size = min(_FETCH, count - start) * INSN_BYTES
            stream = self._dram.read(address + start * INSN_BYTES, size).tobytes()
            for at in range(0, size, INSN_BYTES):
                job = self._decoded(stream[at : at + INSN_BYTES])
                if job is None:
                    scheduler.errors |= Errors.UNKNOWN_OPCODE
                    continue
                scheduler.dispatch(job)
                if job.insn.opcode == Opcode.FINISH:
                    scheduler.run()
                    return True
            scheduler.run()
        return False

    def _decoded(self, word: bytes) -> Job | None:
        """The job of an instruction word, None if its opcode is unknown."""
        if word not in self._jobs:
            if len(self._jobs) >= _KEEP_JOBS:
                self._jobs.clear()
            insn = decode(self.config, int.from_bytes(word, "little"))
            known = insn.opcode in Opcode.__members__.values()
            self._jobs[word] = make_job(insn, word) if known else None
        return self._jobs[word]

    # Execution -----------------------------------------------------------------------------
    def _execute(self, job: Job) -> Errors:
        match job.insn.opcode:
            case Opcode.LOAD:
                return execute_load(self._pads, self._dram, self._bases, job.insn)
            case Opcode.STORE:
                return execute_store(self._pads, self._dram, self._bases, job.insn)
            case Opcode.GEMM | Opcode.ALU:
                return self._execute_loops(job)
        return Errors(0)

    def _execute_loops(self, job: Job) -> Errors:
        insn = job.insn
        if insn.opcode == Opcode.ALU and insn["alu_opcode"] not in AluOp.__members__.values():
            return Errors.UNKNOWN_OPCODE
        words = self._pads.uop[uop_indices(self.config, insn)]
        if not len(words):
            return Errors(0)
        plan = self._plan(job, words)
        if not isinstance(plan, GemmPlan):
            return run_alu(self._pads, plan)
        return run_reset(self._pads, plan) if insn["reset"] else run_gemm(self._pads, plan)

    def _plan(self, job: Job, words: NDArray[np.uint32]) -> GemmPlan | AluPlan:
        """The plan of a job that finds these micro-ops, kept because layers repeat for every image."""
        key = (job.word, words.tobytes())
        plan = self._plans.get(key)
        if plan is None:
            make = plan_gemm if job.insn.opcode == Opcode.GEMM else plan_alu
            plan = make(self.config, job.insn, words)
            if len(words) <= _KEEP_UOPS:
                if len(self._plans) >= _KEEP_PLANS:
                    self._plans.clear()
                self._plans[key] = plan
        return plan
