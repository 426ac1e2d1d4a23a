"""Configurations as tables: every parameter and every size that follows from it."""

from __future__ import annotations

from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.isa import Memory, memory_elem_bytes, sram_depth

_DERIVED = (
    "inp_elem_bytes",
    "wgt_elem_bytes",
    "acc_elem_bytes",
    "out_elem_bytes",
    "acc8_elem_bytes",
    "uop_depth",
    "inp_depth",
    "wgt_depth",
    "acc_depth",
    "log_uop_depth",
    "log_inp_depth",
    "log_wgt_depth",
    "log_acc_depth",
    "inp_min",
    "inp_max",
    "wgt_min",
    "wgt_max",
    "acc_min",
    "acc_max",
    "macs_per_cycle",
    "capabilities",
)


def describe(cfg: VTAConfig) -> dict[str, Any]:
    """Parameters, derived sizes and the fingerprint of a configuration, as JSON values."""
    derived = {name: getattr(cfg, name) for name in _DERIVED}
    return {"parameters": cfg.to_dict(), "derived": derived, "fingerprint": cfg.fingerprint_hex}


def peak_gops(cfg: VTAConfig) -> float:
    """Additions and multiplications a second at the configuration's clock, in 10^9."""
    return 2 * cfg.macs_per_cycle * cfg.clock_mhz / 1000


def memory_rows(cfg: VTAConfig) -> list[tuple[str, int, int, int]]:
    """Name, elements, bytes of an element and bytes in all of each scratchpad."""
    memories = (Memory.UOP, Memory.INP, Memory.WGT, Memory.ACC)
    sizes = [(memory.name.lower(), sram_depth(cfg, memory), memory_elem_bytes(cfg, memory)) for memory in memories]
    return [(name, depth, size, depth * size) for name, depth, size in sizes]
