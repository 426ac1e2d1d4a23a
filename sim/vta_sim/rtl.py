"""The accelerator's Verilog as a device: Verilator and an AXI memory model in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import Status
from vta_runtime.device import REGION_ALIGNMENT, RegionAllocator, RunResult, name_blamed
from vta_runtime.driver import DEFAULT_WATCHDOG, RegisterDriver

from .build_cache import Progress
from .memory_model import MAX_BURST, MAX_OPEN, STALL_STEPS, MemoryModel, MemoryStatistics
from .rtl_build import build
from .rtl_library import Statistics, load_library, memory_parameters

__all__ = [
    "CHUNK_CYCLES",
    "DEFAULT_MAX_CYCLES",
    "MAX_BURST",
    "MAX_OPEN",
    "STALL_STEPS",
    "MemoryModel",
    "MemoryStatistics",
    "ProtocolViolation",
    "RtlDevice",
]

CHUNK_CYCLES = 50_000
"""Cycles simulated between two looks at Ctrl-C and at the progress callback."""
DEFAULT_MAX_CYCLES = 200_000_000

_RUN_INTERRUPT = 1
_RUN_VIOLATION = 2


class ProtocolViolation(DeviceError):
    """The accelerator broke a rule of AXI; the message names the rule and the clock cycle."""


class RtlDevice:
    """The accelerator of a configuration, simulated cycle by cycle. A :class:`vta_runtime.device.Device`.

    Args:
        cfg: the configuration whose Verilog is simulated; built on first use, then cached.
        memory: behaviour of the memory.
        seed: seed of the memory's stalls, instead of that in ``memory``.
        max_cycles: cycles that one launch may take.
        progress: told about the stages of a build.
        watchdog: cycles without any progress after which a launch ends with an error; 0: without limit.
        on_cycles: called with the cycles of the launch so far, every few ten thousand cycles.
        verilog: text of another top with the same ports; default is the accelerator's own.

    Raises DeviceError when the simulator cannot be built.
    """

    coverage = False
    trace = False

    def __init__(
        self,
        cfg: VTAConfig,
        memory: MemoryModel | None = None,
        *,
        seed: int | None = None,
        max_cycles: int = DEFAULT_MAX_CYCLES,
        watchdog: int = DEFAULT_WATCHDOG,
        progress: Progress | None = None,
        on_cycles: Callable[[int], None] | None = None,
        verilog: str | None = None,
    ) -> None:
        self._handle: int | None = None
        if max_cycles < 1:
            raise DeviceError(f"max_cycles = {max_cycles}: must be 1 or more")
        self.config = cfg
        self.max_cycles = max_cycles
        self._on_cycles = on_cycles
        model = memory if memory is not None else MemoryModel()
        self._library = load_library(build(cfg, progress, verilog=verilog, coverage=self.coverage, trace=self.trace))
        self._handle = self._library.vta_create(memory_parameters(model, model.seed if seed is None else seed))
        self._regions = RegionAllocator(REGION_ALIGNMENT, 1 << cfg.axi_addr_width)
        self.window: tuple[int, int] | None = None
        self.driver = RegisterDriver(self, cfg, wait=self._wait, watchdog=watchdog)

    # Device --------------------------------------------------------------------------------
    def write(self, address: int, data: NDArray[np.uint8] | bytes) -> None:
        """Copy bytes to memory. Raises DeviceError outside the address space."""
        array = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        if array.dtype != np.uint8:
            raise DeviceError(f"write: data of type {array.dtype}; a device takes bytes (uint8)")
        self._check_range("write", address, array.size)
        self._library.vta_memory_write(self._open(), address, array.ctypes.data, array.size)

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes of memory, uint8 of shape [size]. Raises DeviceError outside the address space."""
        self._check_range("read", address, size)
        array = np.empty(size, dtype=np.uint8)
        self._library.vta_memory_read(self._open(), address, array.ctypes.data, size)
        return array

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Run an instruction stream to its end; see :meth:`vta_runtime.device.Device.launch`.

        Raises DeviceError also when it takes more than ``max_cycles``, and ProtocolViolation when the
        accelerator breaks a rule of AXI.
        """
        result = self.driver.launch(insn_address, insn_count, bases, self.window)
        open_writes = self.statistics.writes_open
        if open_writes and not result.status & Status.RESETTING:
            raise ProtocolViolation(f"cycle {self.cycles}: the run ended with {open_writes} writes unanswered")
        return name_blamed(self, insn_address, result)

    def allocate(self, size: int) -> int:
        """Address of a fresh region, 4 KiB aligned. Raises DeviceError when the address space is full."""
        return self._regions.allocate(size)

    def close(self) -> None:
        """Release the simulation. Closing again does nothing."""
        if self._handle is not None:
            self._library.vta_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    # Registers -----------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        """Value of the register at a byte offset, by a read on the AXI-Lite port."""
        value = ctypes.c_uint32()
        if not self._library.vta_register_read(self._open(), offset, ctypes.byref(value)):
            raise self._violation()
        return value.value

    def write32(self, offset: int, value: int) -> None:
        """Set the register at a byte offset, by a write on the AXI-Lite port."""
        if not self._library.vta_register_write(self._open(), offset, value):
            raise self._violation()

    # Measurements --------------------------------------------------------------------------
    @property
    def cycles(self) -> int:
        """Clock cycles simulated since the device was made, register accesses included."""
        return int(self._library.vta_cycles(self._open()))

    @property
    def statistics(self) -> MemoryStatistics:
        """Traffic on the AXI port."""
        stats = Statistics()
        self._library.vta_stats(self._open(), ctypes.byref(stats))
        return MemoryStatistics(**{name: int(getattr(stats, name)) for name in MemoryStatistics.__dataclass_fields__})

    # Private -------------------------------------------------------------------------------
    def _open(self) -> int:
        if self._handle is None:
            raise DeviceError("the RTL device is closed; make a new one")
        return self._handle

    def _check_range(self, what: str, address: int, size: int) -> None:
        end = 1 << self.config.axi_addr_width
        if address < 0 or size < 0 or address + size > end:
            raise DeviceError(
                f"{what}: {size} bytes at {address:#x} are outside the {end:#x} bytes of the address space"
            )

    def _violation(self) -> ProtocolViolation:
        text = self._library.vta_violation(self._open())
        return ProtocolViolation(text.decode("ascii", errors="replace"))

    def _wait(self) -> None:
        """Simulate until the interrupt."""
        done = 0
        while done < self.max_cycles:
            chunk = min(CHUNK_CYCLES, self.max_cycles - done)
            end = self._library.vta_run(self._open(), chunk)
            if end == _RUN_INTERRUPT:
                return
            if end == _RUN_VIOLATION:
                raise self._violation()
            done += chunk
            if self._on_cycles is not None:
                self._on_cycles(done)
        raise DeviceError(
            f"launch: the run did not end within max_cycles = {self.max_cycles}; raise max_cycles if it needs more"
        )
