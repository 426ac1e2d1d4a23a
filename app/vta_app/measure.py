"""Cycles of a layer's instructions on the RTL, without a network around it and without data."""

from __future__ import annotations

from vta_arch.config import VTAConfig
from vta_arch.encoding import encode_stream, finish
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory, memory_elem_bytes
from vta_arch.registers import BASE_MEMORIES
from vta_runtime.device import Device, check
from vta_sw.lower.context import SEGMENTS, Context
from vta_sw.lower.stream import StreamBuilder

_SPACE = 1 << 27
"""Bytes kept for each constant segment and tensor; memory that nothing is written to costs nothing."""


class SampleRunner:
    """Runs samples on a device, whose memory it lays out once. No result depends on the data, which are zeros."""

    def __init__(self, device: Device, cfg: VTAConfig, *, targets: int = 8) -> None:
        self._device, self._cfg, self._targets = device, cfg, targets
        self._arena = device.allocate((targets + 1) * _SPACE)
        device.window = (self._arena, self._arena + (targets + 1) * _SPACE)

    def cycles(self, context: Context, stream: StreamBuilder) -> int:
        """Cycles of a sample alone. Raises DeviceError when the device fails or has no clock."""
        insns = [*stream.finish(), finish(self._cfg)]
        places: dict[str, int] = {}
        for item in stream.relocations:
            place = places.setdefault(item.target, (len(places) + 1) * _SPACE)
            item.insn.fields["dram_base"] += place // memory_elem_bytes(self._cfg, item.memory)
        if len(places) > self._targets:
            raise DeviceError(f"a layer of {len(places)} tensors and constants: only {self._targets} have room")
        uops = next(name for name, memory in SEGMENTS.items() if memory == Memory.UOP)
        if uops in places:
            self._device.write(self._arena + places[uops], context.pools[uops].data())
        self._device.write(self._arena, encode_stream(self._cfg, insns))
        result = self._device.launch(self._arena, len(insns), dict.fromkeys(BASE_MEMORIES, self._arena))
        check(result)
        if result.cycles is None:
            raise DeviceError("the device has no clock")
        return result.cycles
