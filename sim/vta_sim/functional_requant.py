"""ALU operation REQ of the functional device: in order on each accumulator, vectorised over accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from vta_arch.encoding import Insn

from .functional_alu import CHUNK, ranked, repeated
from .loops import Ints, Loop, Operation, as_rows, chunks, iteration_space, offsets, sequential_loops
from .requantizer import requantize
from .scratchpads import Scratchpads

_IMM_MASK = 0xFFFF


def requant_index(insn: Insn) -> int:
    """The parameters that ``imm`` names, not wrapped."""
    return insn["imm"] & _IMM_MASK


def requant_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """The operations of an ALU instruction REQ whose micro-ops are ``table`` [n, >= 2]."""
    if insn["use_imm"]:
        named, steps = ["dst"], np.column_stack((table[:, 0], np.full(len(table), requant_index(insn))))
    else:
        named, steps = ["dst", "src"], table[:, :2]
    loops, repeat = sequential_loops(insn, named)
    yield from repeated(pads, partial(_body, pads, steps, loops, len(named)), repeat)


def _body(pads: Scratchpads, table: Ints, loops: tuple[Loop, ...], width: int) -> Iterator[Operation]:
    """The loops once: nobody writes parameters, so that accumulators do not depend on each other."""
    for positions in chunks(iteration_space(loops), CHUNK // len(table)):
        steps = np.repeat(table[None], len(positions), axis=0)
        steps[:, :, :width] += offsets(loops, positions, width)[:, None, :]
        dst, index = steps[..., 0].reshape(-1) % pads.cfg.acc_depth, steps[..., 1].reshape(-1) % pads.cfg.req_depth
        yield from (_step(pads, *part) for part in ranked(dst, index))


def _step(pads: Scratchpads, dst: Ints, index: Ints) -> Operation:
    """Requantize distinct accumulators ``dst`` with the parameters ``index``."""
    acc, rows, sets = pads.acc, as_rows(dst), as_rows(index)

    def operation() -> None:
        acc[rows] = requantize(acc[rows], pads.req[sets])

    return operation
