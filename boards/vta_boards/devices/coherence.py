"""Memory that CPU and accelerator share, with a CPU cache that the accelerator's port does not see.

The high-performance ports of a Zynq go to DRAM past the caches. So what the CPU wrote must be cleaned out of the cache
before a run, and lines that it holds of what a run wrote must be dropped before they are read. Both are done for whole
pages, and only for pages that need it: the weights of a network are cleaned once and never dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DeviceError
from vta_runtime.device import REGION_ALIGNMENT

PAGE = REGION_ALIGNMENT
"""Unit of cache maintenance in bytes: a multiple of every cache line, and what regions are aligned to."""


class DmaBuffer(Protocol):
    """Physically contiguous memory that is mapped here."""

    address: int
    """Physical address of its first byte, as the accelerator sees it."""
    size: int
    """Bytes."""

    def view(self) -> NDArray[np.uint8]:
        """The memory as an array [size]."""
        ...

    def flush(self, offset: int, size: int) -> None:
        """Write cached bytes [offset, offset + size) to DRAM, and everything before it in program order."""
        ...

    def invalidate(self, offset: int, size: int) -> None:
        """Drop cached bytes [offset, offset + size): the next read comes from DRAM."""
        ...

    def close(self) -> None:
        """Give the memory back. Closing again does nothing."""
        ...


class SharedMemory:
    """A buffer by physical address, and which of its pages the CPU wrote (``dirty``) or the accelerator may have.

    Args:
        buffer: the memory.
        address_bits: width of the accelerator's addresses.

    Raises DeviceError when the accelerator cannot reach all of the buffer, or it does not begin at a page.
    """

    def __init__(self, buffer: DmaBuffer, address_bits: int) -> None:
        first, end = buffer.address, buffer.address + buffer.size
        if end > 1 << address_bits:
            raise DeviceError(
                f"the buffer at {first:#x} to {end:#x} is beyond the {address_bits} address bits of the accelerator; "
                f"reserve memory below {1 << address_bits:#x}, or build a configuration with a larger axi_addr_width"
            )
        if first % PAGE:
            raise DeviceError(f"the buffer at {first:#x} does not begin at a multiple of {PAGE} bytes")
        if buffer.size < PAGE:
            raise DeviceError(f"the buffer has {buffer.size} bytes; the accelerator needs {PAGE} at least")
        self.address, self.end = first, end
        self._buffer = buffer
        pages = -(-buffer.size // PAGE)
        self._dirty = np.zeros(pages, dtype=np.bool_)
        self._stale = np.zeros(pages, dtype=np.bool_)

    def write(self, address: int, data: NDArray[np.uint8]) -> None:
        """Copy bytes to a physical address. Raises DeviceError outside the buffer."""
        start, pages = self._place("write", address, data.size)
        self._drop(pages)
        self._buffer.view()[start : start + data.size] = data
        self._dirty[pages] = True

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """A copy of ``size`` bytes. Raises DeviceError outside the buffer."""
        start, pages = self._place("read", address, size)
        self._drop(pages)
        return self._buffer.view()[start : start + size].copy()

    def before_run(self) -> None:
        """Let the accelerator see everything that was written here."""
        for start, size in _runs(self._dirty, 0, self._buffer.size):
            self._buffer.flush(start, size)
        self._dirty[:] = False

    def after_run(self, window: tuple[int, int]) -> None:
        """The accelerator may have written anything in ``window``, physical addresses."""
        _start, pages = self._place("DMA window", window[0], window[1] - window[0])
        self._stale[pages] = True

    def _place(self, what: str, address: int, size: int) -> tuple[int, slice]:
        """Offset in the buffer, and the pages touched."""
        if size < 0 or address < self.address or address + size > self.end:
            raise DeviceError(
                f"{what}: {size} bytes at {address:#x} are outside the buffer, {self.address:#x} to {self.end:#x}"
            )
        start = address - self.address
        return start, slice(start // PAGE, -(-(start + size) // PAGE) if size else start // PAGE)

    def _drop(self, pages: slice) -> None:
        """Forget what the cache holds of pages that the accelerator may have written."""
        for start, size in _runs(self._stale[pages], pages.start * PAGE, self._buffer.size):
            self._buffer.invalidate(start, size)
        self._stale[pages] = False


def _runs(pages: NDArray[np.bool_], first: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and size in bytes of each run of pages that are set; ``first`` is the offset of the first page."""
    edges = np.flatnonzero(np.diff(pages.astype(np.int8), prepend=0, append=0))
    for begin, after in edges.reshape(-1, 2).tolist():
        start = first + begin * PAGE
        yield start, min(first + after * PAGE, end) - start
