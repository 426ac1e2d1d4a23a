"""The memory behind the accelerator's AXI port, as the simulations of its Verilog model it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from vta_arch.errors import DeviceError

MAX_OPEN = 64
"""Most bursts that the memory model keeps open in a direction."""
MAX_BURST = 256
STALL_STEPS = 4096


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
