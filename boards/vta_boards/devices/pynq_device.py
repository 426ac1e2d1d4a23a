"""The accelerator under PYNQ: its Overlay programs the board, its allocate gives the memory.

The only module that imports pynq, and only when it is called.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

from ..board import Board
from .board_device import DEFAULT_TIMEOUT, BoardDevice
from .uio import REGISTER_BYTES, UioInterrupt, find_uio

INTERRUPT_UIO = "fabric"
"""The UIO device by which PYNQ's images offer interrupts of the fabric."""


class PynqRegisters:
    """Registers by pynq.MMIO, whose accesses have 32 bits."""

    def __init__(self, mmio: Any) -> None:
        self._mmio = mmio

    def read32(self, offset: int) -> int:
        """The register at a byte offset."""
        return int(self._mmio.read(offset))

    def write32(self, offset: int, value: int) -> None:
        """Set the register at a byte offset."""
        self._mmio.write(offset, value)

    def close(self) -> None:
        """Nothing to give back."""


class PynqBuffer:
    """A :class:`vta_boards.devices.coherence.DmaBuffer` from pynq.allocate; its slices flush themselves."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.address, self.size = int(array.device_address), int(array.nbytes)

    def view(self) -> NDArray[np.uint8]:
        """The memory as an array [size]. Raises DeviceError when it was given back."""
        if self._array is None:
            raise DeviceError("the PYNQ buffer was given back; open the device again")
        return np.asarray(self._array)

    def flush(self, offset: int, size: int) -> None:
        """Write cached bytes to DRAM."""
        self._array[offset : offset + size].flush()

    def invalidate(self, offset: int, size: int) -> None:
        """Drop cached bytes."""
        self._array[offset : offset + size].invalidate()

    def close(self) -> None:
        """Give the memory back. Doing so again does nothing."""
        if self._array is not None:
            self._array.freebuffer()
            self._array = None


def open_pynq(
    bitfile: Path | str | None,
    cfg: VTAConfig,
    board: Board,
    *,
    memory_mib: int,
    interrupt: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    root: Path = Path("/"),
) -> BoardDevice:
    """The accelerator of a bitstream, programmed by PYNQ.

    Args:
        bitfile: the ``.bit``, its ``.hwh`` beside it.
        cfg: the configuration that it was made from.
        board: the board, for the address of the registers.
        memory_mib: buffer to allocate, in MiB, from the kernel's contiguous memory.
        interrupt: wait for PYNQ's UIO device of fabric interrupts instead of polling.
        timeout: seconds that a run may take.
        root: the folder that stands for ``/``.

    Raises DeviceError when PYNQ is missing, refuses the bitstream or the memory, or the bitstream has no accelerator.
    """
    if bitfile is None:
        raise DeviceError("PYNQ needs the bitstream; give the .bit, with its .hwh beside it")
    try:
        import pynq
    except ImportError as error:
        raise DeviceError(f"PYNQ cannot be imported ({error}); run its own Python, or use --device uio") from None
    try:
        overlay = pynq.Overlay(str(bitfile))
        place = _place(overlay, board, bitfile)
        registers = PynqRegisters(pynq.MMIO(place, REGISTER_BYTES))
        buffer = PynqBuffer(pynq.allocate(shape=(memory_mib << 20,), dtype=np.uint8))
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # what PYNQ raises; it has no base class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DeviceError(f"PYNQ cannot use {bitfile}: {reason}") from None
    with contextlib.ExitStack() as on_error:
        on_error.callback(buffer.close)
        waiting = UioInterrupt.open(find_uio(INTERRUPT_UIO, root=root, registers=False)) if interrupt else None
        on_error.pop_all()
    return BoardDevice(cfg, registers, buffer, interrupt=waiting, timeout=timeout)


def _place(overlay: Any, board: Board, bitfile: Path | str) -> int:
    """Address of the accelerator's registers, which the overlay must know."""
    places = {name: int(entry["phys_addr"]) for name, entry in overlay.ip_dict.items() if "phys_addr" in entry}
    if board.system.control_base not in places.values():
        shown = ", ".join(f"{name} at {place:#x}" for name, place in places.items()) or "none"
        raise DeviceError(
            f"{bitfile}: no IP at {board.system.control_base:#x}, where {board.name} has the accelerator; "
            f"it has: {shown}"
        )
    return board.system.control_base
