"""What all figures share: small instruction streams on the RTL, and their cycles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, encode_stream, encode_uops, finish, load, store
from vta_arch.isa import Memory, memory_elem_bytes, sram_depth
from vta_runtime.device import check
from vta_sim.rtl import RtlDevice

INSNS, UOPS, DATA = 0x10000, 0x100000, 0x200000
BASES = dict.fromkeys((Memory.WGT, Memory.INP, Memory.ACC), DATA) | {Memory.UOP: UOPS, Memory.OUT: 0x800000}
LONG, ROW = 4096, 64
"""Bytes of a long transfer, and of a row of a 2-D one."""
FEW, MANY = 4, 12
"""Counts of the two runs whose difference is taken."""


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``reach`` is a lower bound when the ideal is a share of the bus, else an upper one."""

    group: str
    what: str
    value: float
    unit: str
    ideal: float
    reach: float | None

    @property
    def reached(self) -> bool | None:
        if self.reach is None:
            return None
        return self.value >= self.reach if self.unit == SHARE else self.value <= self.reach


SHARE = "of bus beats"


class Bench:
    """Runs streams on the RTL of a configuration and counts cycles."""

    def __init__(self, cfg: VTAConfig, device: RtlDevice) -> None:
        self.cfg, self._device = cfg, device
        self.bus_bytes = cfg.axi_data_width // 8
        self.declared = {"one_bank": 1} if "overlap" in cfg.extensions else {}

    def cycles(self, insns: list[Insn]) -> int:
        """Cycles of the run of a stream, from its start to its end."""
        stream = [*insns, finish(self.cfg)]
        self._device.write(INSNS, encode_stream(self.cfg, stream))
        result = self._device.launch(INSNS, len(stream), BASES)
        check(result)
        if result.cycles is None:
            raise RuntimeError("the RTL device counted no cycles")
        return result.cycles

    def slope(self, stream: Callable[[int], list[Insn]], few: int = FEW, many: int = MANY) -> float:
        """Cycles that each further unit of ``stream``'s argument costs."""
        return (self.cycles(stream(many)) - self.cycles(stream(few))) / (many - few)

    def with_uops(self, table: list[tuple[int, int, int]]) -> list[Insn]:
        """Puts micro-ops into memory; the LOAD that fetches them to index 0."""
        self._device.write(UOPS, encode_uops(self.cfg, table).tobytes())
        return [load(self.cfg, Memory.UOP, y_size=1, x_size=len(table), x_stride=len(table))]

    # Transfers -----------------------------------------------------------------------------
    def elements(self, memory: Memory, size: int) -> int:
        """Elements of ``memory`` in ``size`` bytes, at least one and at most what the scratchpad holds."""
        return max(1, min(size // memory_elem_bytes(self.cfg, memory), sram_depth(self.cfg, memory)))

    def beats(self, memory: Memory, elements: int) -> float:
        """Bus beats of that many contiguous elements."""
        return elements * memory_elem_bytes(self.cfg, memory) / self.bus_bytes

    def contiguous(self, memory: Memory, size: int = LONG, **fields: int) -> Insn:
        """LOAD, or STORE for OUT, of one row of ``size`` bytes."""
        count = self.elements(memory, size)
        fields |= {"y_size": 1, "x_size": count, "x_stride": count}
        return store(self.cfg, **fields) if memory == Memory.OUT else load(self.cfg, memory, **fields)

    def rows(self, memory: Memory, rows: int) -> Insn:
        """A transfer of rows of ROW bytes, every other one in memory."""
        count = self.elements(memory, ROW)
        fields = {"y_size": rows, "x_size": count, "x_stride": 2 * count}
        return store(self.cfg, **fields) if memory == Memory.OUT else load(self.cfg, memory, **fields)

    def row_stream(self, memory: Memory) -> Callable[[int], list[Insn]]:
        """A stream of one transfer of n rows."""
        return lambda n: [self.rows(memory, n)]


def repeated(*insns: Insn) -> Callable[[int], list[Insn]]:
    """A stream of n times these instructions."""
    return lambda n: list(insns) * n
