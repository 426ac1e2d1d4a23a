"""The devices that a backend's name stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_runtime.device import Device

from .output import ProgressCallback

if TYPE_CHECKING:
    from vta_sim.memory_model import MemoryModel
    from vta_sim.trace_device import Launch


class Backend(StrEnum):
    """What a program runs on."""

    FUNCTIONAL = "functional"
    """Exact instruction-level simulator; has no clock."""
    RTL = "rtl"
    """The generated Verilog in Verilator, with a memory model in the same process."""
    REFERENCE = "reference"
    """Integer arithmetic on whole layers, without instructions."""
    COCOTB = "cocotb"
    """The generated Verilog under cocotb's AXI models: slow, for single layers."""


@contextlib.contextmanager
def open_device(
    backend: Backend,
    cfg: VTAConfig,
    progress: ProgressCallback | None = None,
    *,
    on_launch: Callable[[Launch], None] | None = None,
    memory: MemoryModel | None = None,
) -> Iterator[Device]:
    """A device of the configuration, closed at the end of the block.

    ``progress`` is told about the stages of a simulator's build, ``on_launch`` is given every launch as RTL recorded
    it, ``memory`` is the memory behind the RTL. Raises DeviceError when the simulator cannot be built, for REFERENCE,
    which is no device, or for a ``memory`` with another backend than RTL.
    """
    if memory is not None:
        check_clocked(backend)
    if on_launch is not None:
        check_traceable(backend)
    device = _make(backend, cfg, progress, memory) if on_launch is None else _trace(cfg, progress, memory, on_launch)
    try:
        yield device
    finally:
        device.close()


def make_device(backend: Backend, cfg: VTAConfig) -> Device:
    """A device that the caller closes. Raises DeviceError as :func:`open_device` does."""
    return _make(backend, cfg, None, None)


def check_traceable(backend: Backend) -> None:
    """Raise DeviceError for a backend without cycles of its units."""
    if backend is not Backend.RTL:
        raise DeviceError(f"backend {backend} shows no cycles of its units; a timeline needs --backend rtl")


def check_clocked(backend: Backend) -> None:
    """Raise DeviceError for a backend whose memory has no speed that could be set."""
    if backend is not Backend.RTL:
        raise DeviceError(f"backend {backend} has no memory of a chosen speed; use --backend rtl")


def _trace(
    cfg: VTAConfig, progress: ProgressCallback | None, memory: MemoryModel | None, on_launch: Callable[[Launch], None]
) -> Device:
    from vta_sim.trace_device import TracingDevice

    return TracingDevice(cfg, memory, on_launch=on_launch, progress=progress)


def _make(backend: Backend, cfg: VTAConfig, progress: ProgressCallback | None, memory: MemoryModel | None) -> Device:
    if backend is Backend.FUNCTIONAL:
        from vta_sim.functional import FunctionalDevice

        return FunctionalDevice(cfg)
    if backend is Backend.RTL:
        from vta_sim.rtl import RtlDevice

        return RtlDevice(cfg, memory, progress=progress)
    if backend is Backend.COCOTB:
        from vta_sim.cocotb_device import CocotbDevice

        return CocotbDevice(cfg)
    raise DeviceError(f"backend {backend} runs no instructions; choose functional, rtl or cocotb")
