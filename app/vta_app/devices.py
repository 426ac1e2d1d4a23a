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
) -> Iterator[Device]:
    """A device of the configuration, closed at the end of the block.

    ``progress`` is told about the stages of a simulator's build, ``on_launch`` is given every launch as RTL recorded
    it. Raises DeviceError when the simulator cannot be built, or for REFERENCE, which is no device.
    """
    device = _make(backend, cfg, progress) if on_launch is None else _make_tracing(backend, cfg, progress, on_launch)
    try:
        yield device
    finally:
        device.close()


def check_traceable(backend: Backend) -> None:
    """Raise DeviceError for a backend without cycles of its units."""
    if backend is not Backend.RTL:
        raise DeviceError(f"backend {backend} shows no cycles of its units; a timeline needs --backend rtl")


def _make_tracing(
    backend: Backend, cfg: VTAConfig, progress: ProgressCallback | None, on_launch: Callable[[Launch], None]
) -> Device:
    check_traceable(backend)
    from vta_sim.trace_device import TracingDevice

    return TracingDevice(cfg, on_launch=on_launch, progress=progress)


def _make(backend: Backend, cfg: VTAConfig, progress: ProgressCallback | None) -> Device:
    if backend is Backend.FUNCTIONAL:
        from vta_sim.functional import FunctionalDevice

        return FunctionalDevice(cfg)
    if backend is Backend.RTL:
        from vta_sim.rtl import RtlDevice

        return RtlDevice(cfg, progress=progress)
    if backend is Backend.COCOTB:
        from vta_sim.cocotb_device import CocotbDevice

        return CocotbDevice(cfg)
    raise DeviceError(f"backend {backend} runs no instructions; choose functional, rtl or cocotb")
