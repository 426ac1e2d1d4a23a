"""What a program runs on: simulator or board, seen as memory, registers and a launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vta_arch.assembly import disassemble
from vta_arch.config import VTAConfig
from vta_arch.encoding import decode
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, Memory
from vta_arch.registers import describe_errors

REGION_ALIGNMENT = 4096
"""Regions handed out by :meth:`Device.allocate` start at multiples of this many bytes."""


@dataclass(frozen=True)
class RunResult:
    """What a launch left in the registers."""

    cycles: int | None
    """Clock cycles from start to end; None where time has no meaning (functional simulator)."""
    errors: int
    """Bits of :class:`vta_arch.registers.Errors`."""
    status: int
    """Bits of :class:`vta_arch.registers.Status`."""
    error_insn: int | None = None
    """Index in the stream of the first instruction to blame for an error; None if there is none."""
    error_text: str = ""
    """That instruction disassembled, or ''."""


class Device(Protocol):
    """An accelerator and its memory. Scratchpads persist between launches, tokens and errors do not."""

    config: VTAConfig
    window: tuple[int, int] | None
    """First byte address and the one beyond the last that the accelerator may touch; None: all. Ends are
    rounded outwards to 4 KiB."""

    def write(self, address: int, data: NDArray[np.uint8] | bytes) -> None:
        """Copy bytes to memory at a byte address."""

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes of memory from a byte address, as a fresh array of shape [size]."""

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Run an instruction stream to its end.

        Args:
            insn_address: byte address of the stream, a multiple of 64.
            insn_count: instructions in it.
            bases: byte address added to each memory's addresses; a memory left out has base 0.

        Raises DeviceError when the run cannot start or does not end; errors that the accelerator itself
        reports are in the result, see :func:`check`.
        """

    def allocate(self, size: int) -> int:
        """Byte address of a fresh region, 4 KiB aligned. Raises DeviceError when the memory is full."""

    def close(self) -> None:
        """Release the device. Further use is an error; closing again is not."""


class RegionAllocator:
    """Hands out memory regions from the bottom up; nothing is given back.

    Args:
        start: first byte address handed out.
        end: first byte address beyond the memory.
        remedy: what gives a device more memory, for the error.
    """

    def __init__(
        self, start: int, end: int, *, remedy: str = "use a configuration with a larger axi_addr_width"
    ) -> None:
        self._remedy = remedy
        self._next = -(-start // REGION_ALIGNMENT) * REGION_ALIGNMENT
        self._end = end

    def allocate(self, size: int) -> int:
        """Address of ``size`` fresh bytes. Raises DeviceError when they do not fit or ``size`` is negative."""
        if size < 0:
            raise DeviceError(f"allocate: a region of {size} bytes; sizes are 0 or more")
        address = self._next
        if address + size > self._end:
            raise DeviceError(
                f"allocate: {size} bytes do not fit into the {self._end - address} that are left of the device's "
                f"memory, which ends at {self._end:#x}; {self._remedy}"
            )
        self._next = -(-(address + max(size, 1)) // REGION_ALIGNMENT) * REGION_ALIGNMENT
        return address


def name_blamed(device: Device, insn_address: int, result: RunResult) -> RunResult:
    """The result with the text of the instruction to blame, read from the stream at ``insn_address``."""
    if result.error_insn is None:
        return result
    word = device.read(insn_address + result.error_insn * INSN_BYTES, INSN_BYTES).tobytes()
    insn = decode(device.config, int.from_bytes(word, "little"))
    return replace(result, error_text=disassemble(device.config, insn))


def check(result: RunResult, what: str = "run") -> None:
    """Raise DeviceError when the accelerator reported an error: ``what``, every error bit and the instruction."""
    if result.errors:
        where = "" if result.error_insn is None else f", first at instruction {result.error_insn}"
        shown = f" ({result.error_text})" if result.error_text else ""
        text = describe_errors(result.errors, result.status)
        raise DeviceError(f"{what}: the accelerator reports{where}{shown}: {text}")
