"""Cycles of a compiled program's layers and regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from vta_arch.encoding import Insn, decode_stream
from vta_arch.program import Program, Region

from .banks import find_banks
from .model import stream_cycles
from .timing import REFERENCE_MEMORY, MemoryTiming


def layer_cycles(program: Program, name: str, memory: MemoryTiming = REFERENCE_MEMORY) -> int:
    """Cycles of one layer that runs alone. Raises ProgramError for an unknown layer."""
    return _cycles(program, decode_stream(program.config, program.layer_stream(name)), memory)


def region_cycles(program: Program, region: Region, memory: MemoryTiming = REFERENCE_MEMORY) -> int:
    """Cycles of a launch."""
    insns = program.instructions()[region.first : region.first + region.count]
    return _cycles(program, insns, memory)


def _cycles(program: Program, insns: Sequence[Insn], memory: MemoryTiming) -> int:
    segment = program.segment("uops")
    words = np.frombuffer(segment.data, dtype="<u4")
    first_word = segment.offset // words.itemsize

    def read(first: int, count: int) -> NDArray[np.uint32]:
        return words[first - first_word : first - first_word + count]

    banks = find_banks(program.config, insns, read)
    return stream_cycles(program.config, insns, banks.declared, memory, across=banks.across)
