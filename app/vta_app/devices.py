"""The devices that a backend's name stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_runtime.device import Device

from .output import ProgressCallback


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
def open_device(backend: Backend, cfg: VTAConfig, progress: ProgressCallback | None = None) -> Iterator[Device]:
    """A device of the configuration, closed at the end of the block.

    ``progress`` is told about the stages of a simulator's build. Raises DeviceError when the simulator
    cannot be built, or for REFERENCE, which is no device.
    """
    device = _make(backend, cfg, progress)
    try:
        yield device
    finally:
        device.close()


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
