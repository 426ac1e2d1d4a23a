"""The accelerator of a board as a device: registers, a buffer that both sides reach, and perhaps an interrupt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import OFFSETS, Status
from vta_runtime.device import RegionAllocator, RunResult, name_blamed
from vta_runtime.driver import DEFAULT_WATCHDOG, RegisterDriver

from .coherence import DmaBuffer, SharedMemory

DEFAULT_TIMEOUT = 60.0


class Registers(Protocol):
    """A :class:`vta_runtime.driver.RegisterBus` that is given back at the end."""

    def read32(self, offset: int) -> int: ...

    def write32(self, offset: int, value: int) -> None: ...

    def close(self) -> None: ...


class Interrupt(Protocol):
    """Something that the end of a run wakes."""

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt; whether it came in time."""
        ...

    def close(self) -> None: ...


class BoardDevice:
    """A :class:`vta_runtime.device.Device` on a board. It owns what it is given, and closes it also when it fails.

    Opening it compares version, extensions and fingerprint with the configuration, then resets the accelerator, so that
    a run which a killed program left behind writes nothing into the memory that is handed out now. A run that fails
    or is interrupted ends in a reset, too.

    Args:
        cfg: what the accelerator must be.
        registers: its registers.
        buffer: all of the memory that it may touch.
        interrupt: what wakes a waiting run; None: STATUS is polled.
        timeout: seconds that a run may take.
        watchdog: cycles without progress after which the accelerator itself ends a run; 0: never.

    Raises DeviceError when the accelerator is another one, does not become free, or cannot reach the buffer.
    """

    def __init__(
        self,
        cfg: VTAConfig,
        registers: Registers,
        buffer: DmaBuffer,
        *,
        interrupt: Interrupt | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        watchdog: int = DEFAULT_WATCHDOG,
    ) -> None:
        self.config = cfg
        self.window: tuple[int, int] | None = None
        self._owned: list[Registers | DmaBuffer | Interrupt] = [registers, buffer]
        if interrupt is not None:
            self._owned.append(interrupt)
        self._registers, self._interrupt, self._timeout = registers, interrupt, timeout
        wait = None if interrupt is None else self._wait
        self.driver = RegisterDriver(registers, cfg, wait=wait, timeout=timeout, watchdog=watchdog)
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.close)
            self._memory = SharedMemory(buffer, cfg.axi_addr_width)
            self._regions = RegionAllocator(
                self._memory.address, self._memory.end, remedy="make the buffer larger (see docs/on-board.md)"
            )
            self.driver.identify()
            self.driver.reset()
            on_error.pop_all()

    def write(self, address: int, data: NDArray[np.uint8] | bytes) -> None:
        """Copy bytes to a physical address. Raises DeviceError outside the buffer."""
        flat = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        self._memory.write(address, flat.reshape(-1).view(np.uint8))

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes from a physical address, as a fresh array. Raises DeviceError outside the buffer."""
        return self._memory.read(address, size)

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Run an instruction stream to its end; see :meth:`vta_runtime.device.Device.launch`.

        Nothing outside ``window``, and never anything outside the buffer, is touched.
        """
        window = self.window or (self._memory.address, self._memory.end)
        self._memory.before_run()
        self._memory.after_run(window)  # whatever happens from here on, memory may have changed
        result = self.driver.launch(insn_address, insn_count, bases, window)
        return name_blamed(self, insn_address, result)

    def allocate(self, size: int) -> int:
        """Physical address of a fresh region, 4 KiB aligned. Raises DeviceError when the buffer is full."""
        return self._regions.allocate(size)

    def close(self) -> None:
        """Give registers, buffer and interrupt back. Closing again does nothing."""
        for part in self._owned:
            part.close()
        self._owned = []

    def __enter__(self) -> BoardDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self) -> None:
        """Wait for the interrupt until STATUS says that the run has ended: a count may be of an earlier program."""
        assert self._interrupt is not None
        deadline = time.monotonic() + self._timeout
        while not (status := self._registers.read32(OFFSETS["STATUS"])) & Status.DONE:
            if self._interrupt.wait(deadline - time.monotonic()):
                continue
            status = self._registers.read32(OFFSETS["STATUS"])
            if status & Status.DONE:
                raise DeviceError(
                    f"launch: the run has ended, but no interrupt came within {self._timeout:g} s; "
                    "check `interrupts` in the device tree, or poll instead"
                )
            raise DeviceError(
                f"launch: the run did not end within {self._timeout:g} s (STATUS {status:#010x}); "
                "raise the timeout if it needs more"
            )
