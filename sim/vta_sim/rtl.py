"""The accelerator's Verilog as a device: Verilator and an AXI memory model in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
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
from .rtl_build import build

MAX_OPEN = 64
"""Most bursts that the memory model keeps open in a direction."""
MAX_BURST = 256
STALL_STEPS = 4096
CHUNK_CYCLES = 50_000
"""Cycles simulated between two looks at Ctrl-C and at the progress callback."""
DEFAULT_MAX_CYCLES = 200_000_000

_RUN_INTERRUPT = 1
_RUN_VIOLATION = 2


class ProtocolViolation(DeviceError):
    """The accelerator broke a rule of AXI; the message names the rule and the clock cycle."""


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """How the memory behind the AXI port behaves. Raises DeviceError for a value that it cannot have."""

    latency: int = 40
    """Cycles from an accepted address to its first data beat, and from the last data beat to a write's response."""
    beat_interval: int | Fraction = 1
    """Cycles from one data beat to the next, in each direction; 1 or more."""
    max_reads: int = 16
    """Bursts that may be open, 1 to 64."""
    max_writes: int = 16
    max_burst: int = 16
    """Longest burst that is not a violation, in beats, 1 to 256."""
    backpressure: float = 0.0
    """Chance that a channel stalls in a cycle, 0 to 0.95, each of the five on its own."""
    seed: int = 0
    """Seed of the stalls."""
    error_range: tuple[int, int] | None = None
    """First byte and the byte beyond the last of a range that answers SLVERR and keeps its contents."""
    silence: tuple[int, int] | None = None
    """(transfers, cycles): after so many data beats and responses the memory is deaf and mute, once, for so long."""

    def __post_init__(self) -> None:
        limits = {"latency": (1, 1 << 32), "max_reads": (1, MAX_OPEN), "max_writes": (1, MAX_OPEN)}
        limits |= {"max_burst": (1, MAX_BURST), "seed": (0, (1 << 63) - 1)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise DeviceError(f"memory model: {name} = {value!r}: must be an integer from {low} to {high}")
        if not 1 <= self.beat_interval <= STALL_STEPS:
            raise DeviceError(f"memory model: beat_interval = {self.beat_interval}: must be from 1 to {STALL_STEPS}")
        if not 0 <= self.backpressure <= 0.95:
            raise DeviceError(f"memory model: backpressure = {self.backpressure}: must be from 0 to 0.95")
        if self.error_range is not None and not 0 <= self.error_range[0] < self.error_range[1] < 1 << 64:
            raise DeviceError(f"memory model: error_range = {self.error_range}: must be (first, beyond the last)")
        if self.silence is not None and not (0 <= self.silence[0] < 1 << 63 and 0 < self.silence[1] < 1 << 63):
            raise DeviceError(f"memory model: silence = {self.silence}: must be (transfers, cycles), cycles 1 or more")


@dataclass(frozen=True)
class MemoryStatistics:
    """Traffic on the AXI port since the device was made."""

    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int
    reads_open: int
    writes_open: int


class _Params(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "latency",
            "interval_num",
            "interval_den",
            "max_reads",
            "max_writes",
            "max_burst",
            "stall_threshold",
            "seed",
            "error_begin",
            "error_end",
            "silent_after",
            "silent_cycles",
        )
    )


class _Stats(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in MemoryStatistics.__dataclass_fields__)


def _load(path: Path) -> ctypes.CDLL:
    """The library with its signatures declared; calls through it release the GIL."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise DeviceError(f"{path}: cannot be loaded: {error}; remove it to have it built again") from None
    handle, word, data = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p
    signatures: dict[str, tuple[object, list[object]]] = {
        "vta_create": (handle, [ctypes.POINTER(_Params)]),
        "vta_destroy": (None, [handle]),
        "vta_memory_write": (None, [handle, word, data, word]),
        "vta_memory_read": (None, [handle, word, data, word]),
        "vta_register_write": (ctypes.c_int, [handle, ctypes.c_uint32, ctypes.c_uint32]),
        "vta_register_read": (ctypes.c_int, [handle, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)]),
        "vta_run": (ctypes.c_int, [handle, word]),
        "vta_cycles": (word, [handle]),
        "vta_stats": (None, [handle, ctypes.POINTER(_Stats)]),
        "vta_violation": (ctypes.c_char_p, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


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
        self._library = _load(build(cfg, progress, verilog=verilog, coverage=self.coverage, trace=self.trace))
        self._handle = self._library.vta_create(_parameters(model, model.seed if seed is None else seed))
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
        stats = _Stats()
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


def _parameters(model: MemoryModel, seed: int) -> _Params:
    interval = Fraction(model.beat_interval).limit_denominator(1 << 16)
    begin, end = model.error_range or (0, 0)
    silent_after, silent_cycles = model.silence or (0, 0)
    return _Params(
        latency=model.latency,
        interval_num=interval.numerator,
        interval_den=interval.denominator,
        max_reads=model.max_reads,
        max_writes=model.max_writes,
        max_burst=model.max_burst,
        stall_threshold=round(model.backpressure * STALL_STEPS),
        seed=seed,
        error_begin=begin,
        error_end=end,
        silent_after=silent_after,
        silent_cycles=silent_cycles,
    )
