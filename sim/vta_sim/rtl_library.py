"""The shared library of a simulated accelerator: its functions and structures, for ctypes."""

from __future__ import annotations

import ctypes
from fractions import Fraction
from pathlib import Path

from vta_arch.errors import DeviceError

from .memory_model import STALL_STEPS, MemoryModel, MemoryStatistics


class Parameters(ctypes.Structure):
    """Behaviour of the memory, as in the C++ of the simulator."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "latency",
            "interval_num",
            "interval_den",
            "max_reads",
            "max_writes",
            "max_burst",
            "stall_threshold",
            "seed",
            "error_begin",
            "error_end",
            "silent_after",
            "silent_cycles",
        )
    )


class Statistics(ctypes.Structure):
    """Traffic on the AXI port: the fields of :class:`MemoryStatistics`."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in MemoryStatistics.__dataclass_fields__)


def load_library(path: Path) -> ctypes.CDLL:
    """The library with its signatures declared; calls through it release the GIL.

    Raises DeviceError when it cannot be loaded.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise DeviceError(f"{path}: cannot be loaded: {error}; remove it to have it built again") from None
    handle, word, data = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p
    signatures: dict[str, tuple[object, list[object]]] = {
        "vta_create": (handle, [ctypes.POINTER(Parameters)]),
        "vta_destroy": (None, [handle]),
        "vta_memory_write": (None, [handle, word, data, word]),
        "vta_memory_read": (None, [handle, word, data, word]),
        "vta_register_write": (ctypes.c_int, [handle, ctypes.c_uint32, ctypes.c_uint32]),
        "vta_register_read": (ctypes.c_int, [handle, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)]),
        "vta_run": (ctypes.c_int, [handle, word]),
        "vta_cycles": (word, [handle]),
        "vta_stats": (None, [handle, ctypes.POINTER(Statistics)]),
        "vta_violation": (ctypes.c_char_p, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def memory_parameters(model: MemoryModel, seed: int) -> Parameters:
    """The memory's behaviour as the library takes it, with ``seed`` for its stalls."""
    interval = Fraction(model.beat_interval).limit_denominator(1 << 16)
    begin, end = model.error_range or (0, 0)
    silent_after, silent_cycles = model.silence or (0, 0)
    return Parameters(
        latency=model.latency,
        interval_num=interval.numerator,
        interval_den=interval.denominator,
        max_reads=model.max_reads,
        max_writes=model.max_writes,
        max_burst=model.max_burst,
        stall_threshold=round(model.backpressure * STALL_STEPS),
        seed=seed,
        error_begin=begin,
        error_end=end,
        silent_after=silent_after,
        silent_cycles=silent_cycles,
    )
