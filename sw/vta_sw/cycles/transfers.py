"""What a LOAD or STORE asks of the bus: beats, bursts, and the cycles of padding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import Memory, memory_elem_bytes, sram_depth

from .timing import BURST_BEATS


@dataclass(frozen=True)
class Transfer:
    """Of one instruction: bursts, beats, and cycles in which the loader takes no beat.

    ``head``: before the first beat; ``stalls``: between the beats of bursts; ``gaps``: from row to row, where beats of
    other loaders may pass; ``tail``: after the last beat.
    """

    bursts: int
    beats: int
    head: int = 0
    stalls: int = 0
    gaps: int = 0
    tail: int = 0


def rows_on_bus(bus: int, base: int, size: int, stride: int, rows: int) -> tuple[int, int]:
    """Bursts and beats of ``rows`` rows of ``size`` bytes, ``stride`` bytes apart, from byte ``base`` on."""
    burst = bus * BURST_BEATS
    # Where rows begin in a burst repeats after so many of them.
    period = min(rows, burst // math.gcd(stride % burst, burst) if stride % burst else 1)
    bursts, beats = [], []
    for row in range(period):
        first = (base + row * stride) % burst
        last = first + size - 1
        bursts.append(last // burst + 1)
        beats.append(last // bus - first // bus + 1)
    whole, rest = divmod(rows, period)
    return whole * sum(bursts) + sum(bursts[:rest]), whole * sum(beats) + sum(beats[:rest])


def loader_lanes(cfg: VTAConfig, memory: Memory) -> int:
    """Elements that a loader writes a cycle: those of a bus word for what GEMM and both loops read, else one."""
    if memory not in (Memory.INP, Memory.WGT, Memory.UOP):
        return 1
    lanes = max(1, cfg.axi_data_width // 8 // memory_elem_bytes(cfg, memory))
    return lanes if 2 * lanes <= sram_depth(cfg, memory) else 1


def load_transfer(cfg: VTAConfig, insn: Insn) -> Transfer | None:
    """What a LOAD asks of the bus; None where it moves nothing."""
    get = insn.fields.get
    sizes = tuple(get(name, 0) for name in ("y_size", "x_size", "x_stride"))
    pads = tuple(get(name, 0) for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"))
    if not (sizes[0] and sizes[1]):
        return None
    memory = Memory(get("memory_type", 0))
    elem, burst = memory_elem_bytes(cfg, memory), cfg.axi_data_width // 8 * BURST_BEATS
    return _load(cfg, memory, get("dram_base", 0) * elem % burst, sizes, pads)


@lru_cache(maxsize=4096)
def _load(cfg: VTAConfig, memory: Memory, base: int, sizes: tuple[int, ...], pads: tuple[int, ...]) -> Transfer:
    bus, elem, lanes = cfg.axi_data_width // 8, memory_elem_bytes(cfg, memory), loader_lanes(cfg, memory)
    (rows, size, stride), (top, bottom, left, right) = sizes, pads
    bursts, beats = rows_on_bus(bus, base, size * elem, stride * elem, rows)
    parts = [-(-part // lanes) for part in (left, size, right)]
    stalls = max(0, rows * size - beats) if lanes == 1 else 0  # narrow elements come one a cycle
    return Transfer(
        bursts,
        beats,
        head=top * sum(parts) + parts[0],
        stalls=stalls,
        gaps=(rows - 1) * (parts[0] + parts[2]),
        tail=bottom * sum(parts) + parts[2],
    )


def store_transfer(cfg: VTAConfig, insn: Insn) -> Transfer | None:
    """What a STORE asks of the bus; None where it moves nothing."""
    get = insn.fields.get
    rows, size = get("y_size", 0), get("x_size", 0)
    if not (rows and size):
        return None
    bus, elem = cfg.axi_data_width // 8, cfg.out_elem_bytes
    base = get("dram_base", 0) * elem
    return Transfer(*rows_on_bus(bus, base, size * elem, get("x_stride", 0) * elem, rows))
