"""The sequences of register accesses: identify the accelerator, program a run, wait for it and read the result.

They are generators of operations, written once. :class:`vta_runtime.driver.RegisterDriver` carries them out over a
blocking bus; a bench whose bus is asynchronous iterates them itself.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.registers import (
    BASE_MEMORIES,
    COUNTERS,
    HW_VERSION,
    IDENT,
    NO_INSN,
    OFFSETS,
    WINDOW_PAGE,
    Control,
    Irq,
    Status,
)

from .device import RunResult

WORD_MASK = 0xFFFFFFFF
DEFAULT_WATCHDOG = 1 << 24
"""Cycles without progress that a run may take; a LOAD that only pads makes none for up to 2^21."""
RESET_POLLS = 100_000
"""Looks at STATUS before a reset is given up: each takes a few cycles at least, a drain a few thousand at most."""
Window = tuple[int, int]


@dataclass(frozen=True)
class Read:
    """Read the register ``name``; its value is sent back into the generator."""

    name: str

    @property
    def offset(self) -> int:
        return OFFSETS[self.name]


@dataclass(frozen=True)
class Write:
    """Write ``value`` to the register ``name``."""

    name: str
    value: int

    @property
    def offset(self) -> int:
        return OFFSETS[self.name]


@dataclass(frozen=True)
class WaitDone:
    """Wait until the run has ended: the interrupt, or STATUS.DONE."""


T = TypeVar("T")
Operation = Read | Write | WaitDone
Operations = Generator[Operation, int, T]


def _read_pair(name: str) -> Operations[int]:
    low = yield Read(f"{name}_LO")
    high = yield Read(f"{name}_HI")
    return (high << 32) | low


def _write_pair(name: str, value: int) -> Operations[None]:
    yield Write(f"{name}_LO", value & WORD_MASK)
    yield Write(f"{name}_HI", value >> 32)


def identify(cfg: VTAConfig) -> Operations[None]:
    """Compare the accelerator's identity with ``cfg``. Raises DeviceError naming both sides of a difference."""
    ident = yield Read("IDENT")
    if ident != IDENT:
        raise DeviceError(
            f"register IDENT is {ident:#010x}, a VTA has {IDENT:#010x}: no accelerator at this address; "
            "program the device first"
        )
    version = yield Read("VERSION")
    if version != HW_VERSION:
        raise DeviceError(
            f"the accelerator has instruction set version {version:#010x}, this software {HW_VERSION:#010x}; "
            "generate its Verilog again with this software"
        )
    capability = yield Read("CAPABILITY")
    if capability != cfg.capabilities:
        raise DeviceError(
            f"the accelerator has extensions {capability:#010x}, configuration {cfg.name!r} has "
            f"{cfg.capabilities:#010x}; use the configuration that its Verilog was made from"
        )
    fingerprint = yield from _read_pair("FINGERPRINT")
    if fingerprint != cfg.fingerprint():
        raise DeviceError(
            f"the accelerator has configuration fingerprint {fingerprint:016x}, configuration {cfg.name!r} has "
            f"{cfg.fingerprint_hex}; use the configuration that its Verilog was made from"
        )


def check_launch(cfg: VTAConfig, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> None:
    """Raise DeviceError when an argument of a launch does not fit its register."""
    if not 0 <= insn_count <= WORD_MASK:
        raise DeviceError(f"launch: {insn_count} instructions; a stream has 0 to {WORD_MASK}")
    addresses = {"instruction address": insn_address}
    for memory, base in bases.items():
        if memory not in BASE_MEMORIES:
            names = ", ".join(m.name for m in BASE_MEMORIES)
            raise DeviceError(f"launch: memory {Memory(memory).name} has no base register; those that have: {names}")
        addresses[f"base of {memory.name}"] = base
    for what, address in addresses.items():
        if not 0 <= address < 1 << cfg.axi_addr_width:
            raise DeviceError(f"launch: {what} {address:#x} does not fit into {cfg.axi_addr_width} address bits")
        if address % BASE_ALIGNMENT:
            raise DeviceError(f"launch: {what} {address:#x} is not a multiple of {BASE_ALIGNMENT}")


def reset() -> Operations[None]:
    """End whatever runs and clear units, queues, tokens and errors. Raises DeviceError when the bus stays busy."""
    yield Write("CONTROL", int(Control.RESET))
    for _ in range(RESET_POLLS):
        status = yield Read("STATUS")
        if not status & (Status.RESETTING | Status.RUNNING):
            return
    raise DeviceError(
        f"reset: the memory does not answer what the accelerator asked it for (STATUS {status:#010x}); "
        "program the device again"
    )


def read_counters() -> Operations[dict[str, int]]:
    """The event counters of the last run, by the names in ``vta_arch.registers.COUNTERS``."""
    values = {}
    for name in COUNTERS:
        values[name] = yield from _read_pair(name)
    return values


def _window_registers(window: Window | None) -> tuple[int, int]:
    """DMA_BASE and DMA_LIMIT for a window. Raises DeviceError when it is no range of addresses."""
    if window is None:
        return 0, 0
    base, limit = window
    if not 0 <= base < limit <= 1 << 64:
        raise DeviceError(f"DMA window {base:#x} to {limit:#x}: must be a range of addresses, the end beyond the start")
    return base // WINDOW_PAGE * WINDOW_PAGE, -(-limit // WINDOW_PAGE) * WINDOW_PAGE % (1 << 64)


def run(
    cfg: VTAConfig,
    insn_address: int,
    insn_count: int,
    bases: Mapping[Memory, int],
    *,
    interrupt: bool,
    window: Window | None = None,
    watchdog: int = DEFAULT_WATCHDOG,
) -> Operations[RunResult]:
    """Program and start a run, wait for its end, read its result.

    Args:
        interrupt: raise the interrupt line at the end of the run.
        window: first address and the one beyond the last that the run may touch; None: all. Whole pages of 4 KiB.
        watchdog: cycles without progress after which the run ends with an error; 0: without limit.

    Raises DeviceError when an argument does not fit, the accelerator does not become free, or the wait ended too early.
    """
    check_launch(cfg, insn_address, insn_count, bases)
    dma_base, dma_limit = _window_registers(window)
    if not 0 <= watchdog <= WORD_MASK:
        raise DeviceError(f"launch: watchdog of {watchdog} cycles; it holds 0 (off) to {WORD_MASK}")
    status = yield Read("STATUS")
    if status & (Status.RUNNING | Status.RESETTING):
        yield from reset()
    yield from _write_pair("DMA_BASE", dma_base)
    yield from _write_pair("DMA_LIMIT", dma_limit)
    yield Write("WATCHDOG", watchdog)
    for memory, register in BASE_MEMORIES.items():
        yield from _write_pair(register, bases.get(memory, 0))
    yield from _write_pair("INSN_ADDRESS", insn_address)
    yield Write("INSN_COUNT", insn_count)
    yield Write("IRQ_STATUS", int(Irq.DONE))
    yield Write("IRQ_ENABLE", int(Irq.DONE) if interrupt else 0)
    yield Write("CONTROL", int(Control.START))
    yield WaitDone()
    status = yield Read("STATUS")
    if not status & Status.DONE:
        raise DeviceError(f"launch: the wait ended but STATUS is {status:#010x}, without DONE")
    cycles = yield from _read_pair("CYCLES")
    errors = yield Read("ERRORS")
    error_insn = yield Read("ERROR_INSN")
    yield Write("IRQ_STATUS", int(Irq.DONE))
    return RunResult(cycles, errors, status, None if error_insn == NO_INSN else error_insn)
