"""The bench that runs inside the simulator: one launch over cocotbext-axi's AXI and AXI-Lite models.

Reads a job (``vta_sim.cocotb_device`` writes it) from the folder ``$VTA_COCOTB_JOB``, leaves result and memory there.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import SimHandleBase
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from cocotbext.axi.sparse_memory import SparseMemory
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_runtime.device import RunResult
from vta_runtime.driver import Operations, Read, Write, identify, run

from .cocotb_job import JOB_FILE, JOB_VARIABLE, MEMORY_IN, MEMORY_OUT, RESULT_FILE, pack_pages, unpack_pages

RESET_CYCLES = 8
CLOCK_NS = 10


class FaultyMemory(SparseMemory):  # type: ignore[misc]
    """Sparse memory that refuses a range, which the AXI model answers with SLVERR."""

    def __init__(self, size: int, error_range: tuple[int, int] | None) -> None:
        super().__init__(size)
        self.error_range = error_range

    def _check(self, address: int, length: int) -> None:
        if self.error_range and address < self.error_range[1] and address + length > self.error_range[0]:
            raise ValueError(f"access of {length} bytes at {address:#x} in the error range")

    def read(self, address: int, length: int, **options: Any) -> bytes:
        self._check(address, length)
        return bytes(super().read(address, length, **options))

    def write(self, address: int, data: bytes, **options: Any) -> None:
        self._check(address, len(data))
        super().write(address, data, **options)


def _pauses(chance: float, seed: int) -> Iterator[bool]:
    rng = random.Random(seed)
    return (rng.random() < chance for _ in itertools.count())


def pause_channels(ram: AxiRam, chance: float, seed: int) -> None:
    write, read = ram.write_if, ram.read_if
    channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
    for index, channel in enumerate(channels):
        channel.set_pause_generator(_pauses(chance, seed * len(channels) + index))


async def perform(dut: SimHandleBase, bus: AxiLiteMaster, operations: Operations[Any], max_cycles: int) -> Any:
    """Carry out a register sequence on the AXI-Lite port and return its result."""
    answer: int | None = None  # what a generator that has not begun is sent
    while True:
        try:
            operation = operations.send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value
        answer = 0
        if isinstance(operation, Read):
            answer = await bus.read_dword(operation.offset)
        elif isinstance(operation, Write):
            await bus.write_dword(operation.offset, operation.value)
        elif not int(dut.interrupt.value):
            await First(RisingEdge(dut.interrupt), ClockCycles(dut.aclk, max_cycles))
            if not int(dut.interrupt.value):
                raise DeviceError(
                    f"launch: the run did not end within max_cycles = {max_cycles}; raise max_cycles if it needs more"
                )


class Bench:
    """The clock, the memory behind the AXI port as ``ram``, and the manager of the AXI-Lite port, ``control``."""

    def __init__(self, dut: SimHandleBase, addr_width: int) -> None:
        self._dut = dut
        cocotb.start_soon(Clock(dut.aclk, CLOCK_NS, unit="ns").start())
        dut.aresetn.value = 0
        self.memory = FaultyMemory(1 << addr_width, None)
        self.ram = AxiRam(
            AxiBus.from_prefix(dut, "m_axi_gmem"), dut.aclk, dut.aresetn, reset_active_level=False, mem=self.memory
        )
        self.control = AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi_control"), dut.aclk, dut.aresetn, reset_active_level=False
        )

    async def reset(self) -> None:
        """A pulse of ``aresetn``."""
        self._dut.aresetn.value = 0
        await ClockCycles(self._dut.aclk, RESET_CYCLES)
        self._dut.aresetn.value = 1
        await ClockCycles(self._dut.aclk, RESET_CYCLES)


async def _launch(dut: SimHandleBase, bus: AxiLiteMaster, job: dict[str, Any]) -> RunResult:
    cfg = VTAConfig.from_dict(job["config"])
    bases = {Memory(int(number)): base for number, base in job["bases"].items()}
    await perform(dut, bus, identify(cfg), job["max_cycles"])
    window = tuple(job["window"]) if job["window"] else None
    sequence = run(cfg, job["insn_address"], job["insn_count"], bases, interrupt=True, window=window)
    result: RunResult = await perform(dut, bus, sequence, job["max_cycles"])
    return result


@cocotb.test()  # type: ignore[untyped-decorator]
async def run_job(dut: SimHandleBase) -> None:
    """Reset, load memory, launch, and leave the result."""
    folder = Path(os.environ[JOB_VARIABLE])
    job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
    bench = Bench(dut, job["config"]["axi_addr_width"])
    for address, page in unpack_pages(folder / MEMORY_IN):
        bench.memory.write(address, page)
    bench.memory.error_range = tuple(job["error_range"]) if job["error_range"] else None
    if job["backpressure"]:
        pause_channels(bench.ram, job["backpressure"], job["seed"])
    await bench.reset()
    try:
        result = await _launch(dut, bench.control, job)
        answer: dict[str, Any] = asdict(result)
    except DeviceError as error:
        answer = {"error": str(error)}
    pages = {address: np.frombuffer(bytes(page), dtype=np.uint8) for address, page in bench.memory.segs.items()}
    pack_pages(folder / MEMORY_OUT, pages)
    (folder / RESULT_FILE).write_text(json.dumps(answer), encoding="utf-8")
