"""Userspace I/O: the accelerator's registers and interrupt as /dev/uioN."""

from __future__ import annotations

import os
import select
import struct
from pathlib import Path

from vta_arch.errors import DeviceError
from vta_arch.registers import CONTROL_ADDRESS_BITS

REGISTER_BYTES = 1 << CONTROL_ADDRESS_BITS
_EVENT = struct.Struct("=I")
"""What is read for an interrupt, a count of them, and written to enable the next: one native word."""


def find_uio(name: str, *, root: Path = Path("/"), address: int | None = None, registers: bool = True) -> Path:
    """The device file of the UIO device called ``name``.

    Args:
        name: what its driver or device tree node is called.
        root: the folder that stands for ``/``.
        address: where its registers must be; None: anywhere.
        registers: whether it must have any; otherwise it is of interest for its interrupt.

    Raises DeviceError when there is none, its registers are too few, or they are elsewhere.
    """
    folder = root / "sys" / "class" / "uio"
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = {entry: _text(entry / "name") for entry in entries}
    for entry, found in names.items():
        if found == name:
            if registers:
                _check_map(entry, name, address)
            return root / "dev" / entry.name
    has = f"there are {', '.join(map(repr, names.values()))}" if names else "there is none at all"
    raise DeviceError(
        f"UIO device {name!r} does not exist, {has}; load the board's overlay, "
        "and boot with uio_pdrv_genirq.of_id=generic-uio"
    )


def _check_map(entry: Path, name: str, address: int | None) -> None:
    size = _hex(entry / "maps" / "map0" / "size")
    if size < REGISTER_BYTES:
        raise DeviceError(f"UIO device {name!r} has {size} bytes of registers, the accelerator {REGISTER_BYTES}")
    found = _hex(entry / "maps" / "map0" / "addr")
    if address is not None and found != address:
        raise DeviceError(
            f"UIO device {name!r} is at {found:#x}, the board's registers are at {address:#x}; "
            "name the board that this is, or load its own overlay"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: cannot be read: {error}") from None


def _hex(path: Path) -> int:
    text = _text(path)
    try:
        return int(text, 16)
    except ValueError:
        raise DeviceError(f"{path}: holds {text!r}, not a hexadecimal number") from None


class UioInterrupt:
    """The interrupt of an open UIO device. The kernel masks it each time it comes; waiting unmasks it.

    Because the accelerator's line stays high until it is cleared, an interrupt that came while masked is not lost,
    and one that another program left behind is seen as a count without a reason: the caller looks at STATUS.

    Args:
        descriptor: an open /dev/uioN; it is closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    @classmethod
    def open(cls, path: Path) -> UioInterrupt:
        """The interrupt of a device file. Raises DeviceError."""
        try:
            return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise DeviceError(f"{path}: cannot be opened: {error.strerror}; run as root") from None

    def wait(self, seconds: float) -> bool:
        """Unmask it and wait; whether it came in time. Raises DeviceError when the device has no interrupt."""
        try:
            os.write(self._descriptor, _EVENT.pack(1))
            if not select.select([self._descriptor], [], [], max(seconds, 0))[0]:
                return False
            os.read(self._descriptor, _EVENT.size)
        except OSError as error:
            raise DeviceError(
                f"the UIO device gives no interrupt: {error.strerror}; "
                "check `interrupts` in the device tree, or poll instead"
            ) from None
        return True

    def close(self) -> None:
        """Close the file. Closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
