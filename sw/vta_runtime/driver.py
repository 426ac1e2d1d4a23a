"""The register driver: carries out the register sequences over a blocking bus (simulator, board)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import (
    OFFSETS,
    Control,
    Status,
)

from .device import RunResult
from .register_sequences import (
    DEFAULT_WATCHDOG,
    RESET_POLLS,
    WORD_MASK,
    Operation,
    Operations,
    Read,
    T,
    WaitDone,
    Window,
    Write,
    check_launch,
    identify,
    read_counters,
    reset,
    run,
)

__all__ = [
    "DEFAULT_WATCHDOG",
    "POLL_SECONDS",
    "RESET_POLLS",
    "WORD_MASK",
    "Operation",
    "Operations",
    "Read",
    "RegisterBus",
    "RegisterDriver",
    "WaitDone",
    "Window",
    "Write",
    "check_launch",
    "identify",
    "read_counters",
    "reset",
    "run",
]

POLL_SECONDS = 0.0005


class RegisterBus(Protocol):
    """Access to the accelerator's registers, 32 bits at a time, by byte offset."""

    def read32(self, offset: int) -> int: ...

    def write32(self, offset: int, value: int) -> None: ...


class RegisterDriver:
    """Carries out the register sequences over a blocking bus.

    Args:
        bus: where the registers are.
        config: what the accelerator must be; checked before the first launch.
        wait: blocks until the interrupt is high, raising DeviceError when it does not come. Without it STATUS
            is polled.
        timeout: seconds that a run may take when polling.
        watchdog: cycles without progress after which the accelerator itself ends a run; 0: never.

    A run that another program left behind is ended before the first launch, and a launch whose wait fails or is
    interrupted is ended on the way out, so that the next one finds the accelerator free.
    """

    def __init__(
        self,
        bus: RegisterBus,
        config: VTAConfig,
        *,
        wait: Callable[[], None] | None = None,
        timeout: float = 60.0,
        watchdog: int = DEFAULT_WATCHDOG,
    ) -> None:
        self._bus = bus
        self._config = config
        self._wait = wait
        self._timeout = timeout
        self._watchdog = watchdog
        self._identified = False

    def identify(self) -> None:
        """Compare the accelerator with the configuration. Raises DeviceError naming both sides."""
        self._perform(identify(self._config))
        self._identified = True

    def reset(self) -> None:
        """Soft reset. Raises DeviceError when the memory never answers."""
        self._perform(reset())

    def counters(self) -> dict[str, int]:
        """Event counters of the last run: cycles and bytes by the names in ``vta_arch.registers.COUNTERS``."""
        return self._perform(read_counters())

    def launch(
        self,
        insn_address: int,
        insn_count: int,
        bases: Mapping[Memory, int],
        window: Window | None = None,
    ) -> RunResult:
        """Run an instruction stream to its end; see :meth:`vta_runtime.device.Device.launch`."""
        if not self._identified:
            self.identify()
        operations = run(
            self._config,
            insn_address,
            insn_count,
            bases,
            interrupt=self._wait is not None,
            window=window,
            watchdog=self._watchdog,
        )
        ended = False
        try:
            result = self._perform(operations)
            ended = True
        finally:
            if not ended:
                self._abandon()
        return result

    def _abandon(self) -> None:
        """Ask for a reset without waiting for it: the next launch does, if there is one."""
        status = self._bus.read32(OFFSETS["STATUS"])
        if status & Status.RUNNING:
            self._bus.write32(OFFSETS["CONTROL"], int(Control.RESET))

    def _perform(self, operations: Operations[T]) -> T:
        answer = 0
        try:
            operation = next(operations)
            while True:
                answer = self._carry_out(operation)
                operation = operations.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _carry_out(self, operation: Operation) -> int:
        if isinstance(operation, Read):
            return self._bus.read32(operation.offset)
        if isinstance(operation, Write):
            self._bus.write32(operation.offset, operation.value)
        elif self._wait is not None:
            self._wait()
        else:
            self._poll()
        return 0

    def _poll(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not (status := self._bus.read32(OFFSETS["STATUS"])) & Status.DONE:
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"launch: the run did not end within {self._timeout:g} s (STATUS {status:#010x}); "
                    "raise the driver's timeout if it needs more"
                )
            time.sleep(POLL_SECONDS)
