"""The two nested loops that GEMM and ALU instructions run their micro-ops in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import ACC_BANKS, AluOp, Opcode
from vta_arch.registers import Errors

Ints = NDArray[np.int64]
Rows = slice | Ints
Loop = tuple[int, tuple[int, ...]]
"""Trip count, and what one iteration adds to each index."""
Operation = Callable[[], object]
"""A part of an instruction, bound to the scratchpads: it can be run any number of times."""
_BANK_CHUNK = 1 << 18


def uop_indices(cfg: VTAConfig, insn: Insn) -> Rows:
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


def sequential_loops(insn: Insn, indices: Iterable[str]) -> tuple[tuple[Loop, ...], int]:
    """Loops that run all steps in order, and how often the whole of them is repeated; see :func:`live_loops`."""
    loops, repeat = live_loops(insn, names := tuple(indices))
    # A dead inner loop under a live outer one does not repeat the whole body, but each part of it.
    if loops and insn["iter_in"] > 1 and not any(insn[f"{name}_factor_in"] for name in names):
        return (*loops, (insn["iter_in"], (0,) * len(names))), repeat // insn["iter_in"]
    return loops, repeat


def iteration_space(loops: tuple[Loop, ...]) -> int:
    """Iterations of all ``loops`` together."""
    total = 1
    for count, _ in loops:
        total *= count
    return total


def offsets(loops: tuple[Loop, ...], positions: Ints, width: int) -> Ints:
    """[positions, width]: what these iterations (outer slowest) add to the first ``width`` indices."""
    result = np.zeros((len(positions), width), dtype=np.int64)
    for count, factors in reversed(loops):
        positions, index = np.divmod(positions, count)
        result += index[:, None] * np.asarray(factors[:width], dtype=np.int64)
    return result


def chunks(total: int, step: int) -> Iterable[Ints]:
    """0 to total - 1 in arrays of at most ``step`` (at least 1)."""
    step = max(1, step)
    return (np.arange(start, min(total, start + step)) for start in range(0, total, step))


def index_errors(cfg: VTAConfig, insn: Insn, table: Ints, depths: Mapping[str, int]) -> Errors:
    """INDEX_RANGE if a micro-op's index, or one of ``depths`` (by name, in the table's order), is exceeded."""
    over = insn["uop_end"] > cfg.uop_depth
    for column, (name, depth) in enumerate(depths.items()):
        last = int(table[:, column].max())
        for level in ("out", "in"):
            last += (insn[f"iter_{level}"] - 1) * insn[f"{name}_factor_{level}"]
        over = over or last >= depth
    return Errors.INDEX_RANGE if over else Errors(0)


def bank_errors(cfg: VTAConfig, insn: Insn, table: Ints) -> Errors:
    """ONE_BANK if the accumulators that ``insn`` addresses do not all lie in one bank."""
    both = insn.opcode == Opcode.ALU and not insn["use_imm"] and insn["alu_opcode"] != AluOp.REQ
    names = ("dst", "src") if both else ("dst",)
    loops, _ = live_loops(insn, names)
    seen: set[int] = set()
    for positions in chunks(iteration_space(loops), _BANK_CHUNK // len(table)):
        index = offsets(loops, positions, len(names))[:, None, :] + table[None, :, : len(names)]
        seen.update(np.unique(index % cfg.acc_depth // (cfg.acc_depth // ACC_BANKS)).tolist())
    return Errors.ONE_BANK if len(seen) > 1 else Errors(0)


def as_rows(indices: Ints) -> Rows:
    """A slice instead of evenly rising indices, or of the same one always: no copy to read, none to write.

    The slice of a repeated index has one row, which broadcasts where it is read.
    """
    first, steps = int(indices[0]), np.diff(indices)
    step = int(steps[0]) if len(steps) else 1
    if step < 0 or bool((steps != step).any()):
        return indices
    return slice(first, int(indices[-1]) + 1, step or 1)
