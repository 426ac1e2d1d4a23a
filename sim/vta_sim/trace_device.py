"""The Verilator simulation with the port of :mod:`vta_hw.observe`: records what each unit does in every cycle."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, Memory
from vta_hw.observe import OBSERVED_BITS, WORD_BITS, observed_places
from vta_runtime.device import RunResult

from .build_cache import Progress, cached_verilog
from .rtl import MemoryModel, RtlDevice
from .trace_samples import Samples

MAX_CHANGES = 1 << 23
"""Changes of a launch that are kept: less than half a gigabyte, tens of millions of cycles of a network."""


@dataclass(frozen=True)
class Launch:
    """A launch as it was recorded: its stream of instructions, what the units showed, and how it ended."""

    instructions: bytes
    samples: Samples
    result: RunResult


class TracingDevice(RtlDevice):
    """An :class:`RtlDevice` that hands each launch, recorded, to ``on_launch``.

    The same cycles and results as without: the accelerator has one more output port, in a model of its own.
    """

    trace = True

    def __init__(
        self,
        cfg: VTAConfig,
        memory: MemoryModel | None = None,
        *,
        on_launch: Callable[[Launch], None],
        progress: Progress | None = None,
        seed: int | None = None,
    ) -> None:
        text = cached_verilog(cfg, progress, traced=True)
        self._places = observed_places(text)
        self._on_launch = on_launch
        super().__init__(cfg, memory, seed=seed, progress=progress, on_cycles=self._check_size, verilog=text)
        handle, word = ctypes.c_void_p, ctypes.c_uint64
        self._library.vta_trace_changes.argtypes, self._library.vta_trace_changes.restype = [handle], word
        self._library.vta_trace_clear.argtypes, self._library.vta_trace_clear.restype = [handle], None
        self._library.vta_trace_take.argtypes, self._library.vta_trace_take.restype = [handle, handle], None

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        """Run an instruction stream and record it; see :meth:`RtlDevice.launch`.

        Raises DeviceError also when more changes come than can be kept.
        """
        stream = self.read(insn_address, insn_count * INSN_BYTES).tobytes()
        self._library.vta_trace_clear(self._open())
        result = super().launch(insn_address, insn_count, bases)
        self._on_launch(Launch(stream, self._samples(), result))
        return result

    def _samples(self) -> Samples:
        count = self._library.vta_trace_changes(self._open())
        changes = np.empty((count, 1 + OBSERVED_BITS // WORD_BITS), np.uint64)
        self._library.vta_trace_take(self._open(), changes.ctypes.data)
        return Samples(changes, self.cycles, self._places)

    def _check_size(self, cycles: int) -> None:
        if self._library.vta_trace_changes(self._open()) > MAX_CHANGES:
            raise DeviceError(
                f"the timeline of a launch has more than {MAX_CHANGES:,} changes after {cycles:,} cycles, which do not "
                "fit in memory; trace single layers with --layer, or a smaller network"
            )
