"""The two nested loops that GEMM and ALU instructions run their micro-ops in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn

Ints = NDArray[np.int64]
Loop = tuple[int, tuple[int, ...]]
"""Trip count, and what one iteration adds to each index."""


def uop_indices(cfg: VTAConfig, insn: Insn) -> slice | Ints:
    """Micro-op memory indices that ``insn`` executes, wrapped; none if it has no iteration."""
    begin, end = insn["uop_bgn"], insn["uop_end"]
    if not insn["iter_out"] or not insn["iter_in"] or end <= begin:
        return slice(0, 0)
    return slice(begin, end) if end <= cfg.uop_depth else np.arange(begin, end) % cfg.uop_depth


def live_loops(insn: Insn, indices: Iterable[str]) -> tuple[tuple[Loop, ...], int]:
    """The loops (outer first) that change one of ``indices``, and how often the others repeat them."""
    names = tuple(indices)
    loops: list[Loop] = []
    repeat = 1
    for level in ("out", "in"):
        factors = tuple(insn[f"{name}_factor_{level}"] for name in names)
        count = insn[f"iter_{level}"]
        if any(factors) and count != 1:
            loops.append((count, factors))
        else:
            repeat *= count
    return tuple(loops), repeat


def iteration_space(loops: tuple[Loop, ...]) -> int:
    """Iterations of all ``loops`` together."""
    total = 1
    for count, _ in loops:
        total *= count
    return total


def offsets(loops: tuple[Loop, ...], start: int, stop: int, width: int) -> Ints:
    """[stop - start, width]: what iterations start..stop (outer slowest) add to the first ``width`` indices."""
    result = np.zeros((stop - start, width), dtype=np.int64)
    position = np.arange(start, stop, dtype=np.int64)
    for count, factors in reversed(loops):
        position, index = np.divmod(position, count)
        result += index[:, None] * np.asarray(factors[:width], dtype=np.int64)
    return result
