"""DMA buffers of the u-dma-buf driver: /dev/udmabufN, with its attributes below /sys/class/u-dma-buf."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DeviceError

from .coherence import PAGE
from .mapped import MappedFile, as_bytes

CLASSES = ("u-dma-buf", "udmabuf")
"""Folders below /sys/class, of the driver since 2.0 and before."""
BIDIRECTIONAL = 0
"""Value of sync_direction: flushed when given to the accelerator, invalidated when taken back."""
O_SYNC_MATTERS = (1, 2, 3)
"""Values of sync_mode with which O_SYNC turns the CPU cache off."""
ALWAYS_UNCACHED = (5, 6, 7)
"""Values of sync_mode with which the CPU cache is off in any case."""


class UDmaBuf:
    """A :class:`vta_boards.devices.coherence.DmaBuffer` of the u-dma-buf driver, held by one program at a time.

    Args:
        name: its device name.
        cached: use the CPU cache, with maintenance around each run; otherwise it is opened with O_SYNC, which makes
            every access slow and maintenance cheap.
        root: the folder that stands for ``/``.

    Raises DeviceError when it is missing, in use, or its driver is not set up for what is asked.
    """

    def __init__(self, name: str, *, cached: bool = True, root: Path = Path("/")) -> None:
        self.name, self._cached = name, cached
        self._folder = self._find(root / "sys" / "class")
        self.address = self._number("phys_addr")
        self.size = self._number("size")
        self._check_mode()
        self._file = MappedFile(root / "dev" / name, self.size, sync=not cached)
        try:
            fcntl.flock(self._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise DeviceError(f"buffer {name!r} is in use by another program; end that one first") from None
        self._bytes: NDArray[np.uint8] | None = as_bytes(self._file)
        self._range: tuple[int, int] | None = None
        self._write("sync_direction", BIDIRECTIONAL)

    def view(self) -> NDArray[np.uint8]:
        """The memory as an array [size]. Raises DeviceError when it was closed."""
        if self._bytes is None:
            raise DeviceError(f"buffer {self.name!r} is closed; open the device again")
        return self._bytes

    def flush(self, offset: int, size: int) -> None:
        """Write cached bytes to DRAM. Without cache one page is named: the call still drains the write buffer."""
        self._sync("sync_for_device", offset, size)

    def invalidate(self, offset: int, size: int) -> None:
        """Drop cached bytes. Without cache one page is named, as in :meth:`flush`."""
        self._sync("sync_for_cpu", offset, size)

    def close(self) -> None:
        """Unmap; another program may then have it. Closing again does nothing."""
        self._bytes = None
        self._file.close()

    def _sync(self, attribute: str, offset: int, size: int) -> None:
        wanted = (offset, size if self._cached else min(size, PAGE))
        if wanted != self._range:
            self._write("sync_offset", wanted[0])
            self._write("sync_size", wanted[1])
            self._range = wanted
        self._write(attribute, 1)

    def _find(self, classes: Path) -> Path:
        for kind in CLASSES:
            if (classes / kind / self.name).is_dir():
                return classes / kind / self.name
        found = [entry.name for kind in CLASSES if (classes / kind).is_dir() for entry in (classes / kind).iterdir()]
        has = f"there are {', '.join(sorted(found))}" if found else "there is none"
        raise DeviceError(
            f"buffer {self.name!r} does not exist, {has}; load the u-dma-buf driver or the board's overlay"
        )

    def _check_mode(self) -> None:
        mode = self._number("sync_mode")
        if not self._cached and mode not in (*O_SYNC_MATTERS, *ALWAYS_UNCACHED):
            raise DeviceError(
                f"buffer {self.name!r} has sync_mode {mode}, which keeps the CPU cache on; "
                f"write 1 to {self._folder / 'sync_mode'}, or use it with cache"
            )

    def _number(self, attribute: str) -> int:
        path = self._folder / attribute
        try:
            return int(path.read_text(encoding="ascii").strip(), 0)
        except OSError as error:
            raise DeviceError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise DeviceError(f"{path}: holds no number: {error}") from None

    def _write(self, attribute: str, value: int) -> None:
        path = self._folder / attribute
        try:
            path.write_text(f"{value}\n", encoding="ascii")
        except OSError as error:
            raise DeviceError(f"{path}: cannot be written: {error.strerror}; run as root") from None
