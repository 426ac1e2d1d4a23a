"""What tilings are compared by: rough costs for the search, and the cycle model for those that it finds."""

from __future__ import annotations

from collections.abc import Sequence

from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn

from ..cycles.model import stream_cycles
from ..cycles.timing import ISSUE_CYCLES as ISSUE_CYCLES

# For estimates of thousands of tilings, measured as the slope over equal instructions in a row.
TRANSFER_START = 46
"""Cycles that a LOAD or STORE takes besides its data, with a memory of 40 cycles' latency, one at a time."""
GEMM_START = 11
"""Cycles that a GEMM takes besides its steps: issue, and the pipeline drains."""
ALU_START = 9
"""Cycles that an ALU instruction takes besides its steps."""
ALU_VECTOR_START = 13
"""The same with two operands from memory; each step takes 2 cycles."""
INSN_COST = 4
"""Cycles that an instruction should save to be worth its 16 bytes."""


def requant_cycles(cfg: VTAConfig) -> float:
    """Cycles that the requantizer takes for a vector, of STORE or of the ALU operation."""
    return cfg.batch * cfg.block_out / cfg.requant_width


def store_cycles(cfg: VTAConfig) -> float:
    """Cycles that STORE takes for a vector on average: its bus words, or the requantizer's steps."""
    bus = cfg.out_elem_bytes * 8 / cfg.axi_data_width
    return max(bus, requant_cycles(cfg)) if "requant" in cfg.extensions else bus


def slice_cycles(cfg: VTAConfig, insns: Sequence[Insn], banks: Sequence[int | None] = ()) -> int:
    """Cycles of a slice that runs alone, on the reference memory; see :func:`vta_sw.cycles.model.stream_cycles`.

    ``banks``: the one accumulator bank of each instruction (see StreamBuilder); without it every instruction is taken
    to touch both.
    """
    return stream_cycles(cfg, insns, banks)


def trial_cost(cycles: int, insns: int) -> int:
    """What tilings are compared by: cycles, and a little for each instruction, which must be fetched and held."""
    return cycles + INSN_COST * insns
