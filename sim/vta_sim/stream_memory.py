"""Where the memory of a random stream lies, and what is in it."""

from __future__ import annotations

from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.isa import Memory, memory_elem_bytes

from .requant_vectors import random_requant
from .stream_pieces import Dram, Rng, pick

_ARENA = 1 << 22
"""Everything lies below this address."""
PARAMETERS = 24
"""Vectors of requantization parameters in memory."""
DRAM_MEMORIES = (Memory.UOP, Memory.WGT, Memory.INP, Memory.ACC, Memory.OUT)


def place_memory(cfg: VTAConfig, rng: Rng) -> dict[Memory, Dram]:
    """A slot of the arena for each memory: base registers that differ, contents that start anywhere."""
    slot = _ARENA // 8
    slots = rng.permutation(len(DRAM_MEMORIES))
    dram = {}
    for memory, number in zip(DRAM_MEMORIES, slots, strict=True):
        size = memory_elem_bytes(cfg, memory)
        count = {Memory.UOP: 1024, Memory.WGT: 16}.get(memory, 48)
        base = (int(number) + 1) * slot + BASE_ALIGNMENT * pick(rng, 0, 500)
        data = rng.integers(0, 256, size=count * size, dtype="uint8")
        dram[memory] = Dram(base, pick(rng, 0, min(300, slot // 4 // size)), data, size)
    # ACC_8BIT reads the accumulators' bytes through its own element size.
    acc, size = dram[Memory.ACC], memory_elem_bytes(cfg, Memory.ACC_8BIT)
    first = -(-acc.first * acc.elem_bytes // size)
    dram[Memory.ACC_8BIT] = Dram(acc.base, first, acc.data[first * size - acc.first * acc.elem_bytes :], size)
    if "requant" in cfg.extensions:
        dram[Memory.REQ] = _parameters(cfg, rng, acc)
    return dram


def _parameters(cfg: VTAConfig, rng: Rng, acc: Dram) -> Dram:
    """Requantization parameters behind the accumulators, whose base they share."""
    size = memory_elem_bytes(cfg, Memory.REQ)
    first = -(-(acc.address + len(acc.data) - acc.base) // size) + pick(rng, 0, 5)
    return Dram(acc.base, first, random_requant(cfg, rng, PARAMETERS).pack().reshape(-1), size)
