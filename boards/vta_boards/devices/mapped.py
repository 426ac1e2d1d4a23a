"""Physical addresses as memory of this process: files below /dev, mapped."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DeviceError

WORD_BYTES = 4


class MappedFile:
    """``size`` bytes of a device file from byte ``offset`` on, shared with whatever else acts on them.

    Args:
        path: the device file.
        size: bytes to map.
        offset: where they begin, a multiple of the page size; for /dev/mem a physical address.
        sync: open it with O_SYNC, which asks the driver for memory without CPU cache.

    Raises DeviceError, with the way out, when it cannot be opened or mapped.
    """

    def __init__(self, path: Path, size: int, *, offset: int = 0, sync: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_SYNC if sync else 0)
        try:
            self.descriptor = os.open(path, flags)
        except FileNotFoundError:
            raise DeviceError(f"{path}: there is no such device; load its driver, or program the board first") from None
        except PermissionError:
            raise DeviceError(f"{path}: permission denied; run as root, or give your user access to it") from None
        except OSError as error:
            raise DeviceError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            self.map = mmap.mmap(self.descriptor, size, offset=offset)
        except (OSError, ValueError) as error:
            os.close(self.descriptor)
            raise DeviceError(f"{path}: {size} bytes at {offset:#x} cannot be mapped: {error}") from None
        self.path = path

    def close(self) -> None:
        """Unmap and close. Views must have been released. Closing again does nothing."""
        if not self.map.closed:
            self.map.close()
            os.close(self.descriptor)

    def __enter__(self) -> MappedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MappedRegisters:
    """Registers in a mapped file: a :class:`vta_runtime.driver.RegisterBus`, ``size`` bytes long.

    Every access is one aligned access of 32 bits, the only kind that AXI-Lite registers are made for: an item of a
    memoryview of native words is copied as a word, whereas slices of a map and the standard formats of ``struct`` go
    byte by byte, and a register would see four writes.
    """

    def __init__(self, path: Path, size: int, *, offset: int = 0) -> None:
        self._file = MappedFile(path, size, offset=offset, sync=True)
        self._words = memoryview(self._file.map).cast("I")

    def read32(self, offset: int) -> int:
        """The register at a byte offset."""
        return self._words[offset // WORD_BYTES]

    def write32(self, offset: int, value: int) -> None:
        """Set the register at a byte offset."""
        self._words[offset // WORD_BYTES] = value

    def close(self) -> None:
        """Unmap. Closing again does nothing."""
        self._words.release()
        self._file.close()


def as_bytes(file: MappedFile) -> NDArray[np.uint8]:
    """The whole map as an array [bytes]; delete it before the file is closed."""
    return np.frombuffer(file.map, dtype=np.uint8)
