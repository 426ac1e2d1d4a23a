"""ALU of the functional device: sequential semantics, vectorised where operations are independent.

Every operation of an instruction sees what the earlier ones wrote. An immediate operand needs only
the number of times an accumulator is hit. Otherwise the operations are cut into runs in which none
depends on an earlier one of the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, decode_uops
from vta_arch.isa import AluOp
from vta_arch.numerics import multiply_low, shift_right, wrap
from vta_arch.registers import Errors

from .loops import Loop, iteration_space, live_loops, offsets
from .scratchpads import Scratchpads

Ints = NDArray[np.int64]
Signed = NDArray[Any]
_CHUNK = 1 << 18


@dataclass(frozen=True)
class ImmPlan:
    """Immediate operand: accumulator rows, and how often each is hit (None: once)."""

    op: AluOp
    imm: int
    rows: slice | Ints
    hits: Ints | None
    errors: Errors


@dataclass(frozen=True)
class Step:
    """Operations that may run at the same time."""

    dst: slice | Ints
    src: slice | Ints


@dataclass(frozen=True)
class TensorPlan:
    """Accumulator operand: the whole body is executed ``repeat`` times."""

    op: AluOp
    repeat: int
    errors: Errors
    loops: tuple[Loop, ...]
    table: Ints
    steps: tuple[Step, ...] | None
    """None: too many operations to keep; they are cut again in each run."""
    apart: bool
    """No operation reads what another one writes."""


AluPlan = ImmPlan | TensorPlan


def _errors(cfg: VTAConfig, insn: Insn, table: Ints, loops: tuple[Loop, ...], columns: int) -> Errors:
    over = insn["uop_end"] > cfg.uop_depth
    for column in range(columns):
        last = int(table[:, column].max()) + sum((count - 1) * factors[column] for count, factors in loops)
        over = over or last >= cfg.acc_depth
    return Errors.INDEX_RANGE if over else Errors(0)


def plan_alu(cfg: VTAConfig, insn: Insn, uop_words: NDArray[np.uint32]) -> AluPlan:
    """Prepare an ALU instruction of known operation whose micro-ops are ``uop_words``."""
    table = decode_uops(cfg, uop_words)[:, :2]
    if insn["use_imm"]:
        return _plan_imm(cfg, insn, table)
    return _plan_tensor(cfg, insn, table)


def _plan_imm(cfg: VTAConfig, insn: Insn, table: Ints) -> ImmPlan:
    loops, repeat = live_loops(insn, ("dst",))
    hits = np.zeros(cfg.acc_depth, dtype=np.int64)
    for start, stop in _chunks(loops, len(table)):
        dst = (offsets(loops, start, stop, 1) + table[None, :, 0]).reshape(-1) % cfg.acc_depth
        hits += np.bincount(dst, minlength=cfg.acc_depth)
    rows = np.flatnonzero(hits)
    count = hits[rows] * repeat
    once = bool((count == 1).all())
    return ImmPlan(
        AluOp(insn["alu_opcode"]),
        insn["imm"],
        _as_slice(rows),
        None if once else count,
        _errors(cfg, insn, table, loops, 1),
    )


def _plan_tensor(cfg: VTAConfig, insn: Insn, table: Ints) -> TensorPlan:
    op = AluOp(insn["alu_opcode"])
    loops, repeat = live_loops(insn, ("dst", "src"))
    errors = _errors(cfg, insn, table, loops, 2)
    apart = False
    if iteration_space(loops) * len(table) <= _CHUNK:
        dst, src = _pairs(cfg, table, loops, 0, iteration_space(loops))
        apart = not np.isin(src, dst).any()
    # A dead inner loop under a live outer one does not repeat the whole body, but each part of it.
    # Only where operations commute is that the same.
    inner_dead = insn["iter_in"] > 1 and not insn["dst_factor_in"] and not insn["src_factor_in"]
    if loops and inner_dead and (not apart or op is AluOp.SHR):
        loops, repeat = (*loops, (insn["iter_in"], (0, 0))), repeat // insn["iter_in"]
    if iteration_space(loops) * len(table) > _CHUNK:
        return TensorPlan(op, repeat, errors, loops, table, None, False)
    dst, src = _pairs(cfg, table, loops, 0, iteration_space(loops))
    return TensorPlan(op, repeat, errors, loops, table, tuple(_steps(dst, src, apart)), apart)


def _chunks(loops: tuple[Loop, ...], uops: int) -> list[tuple[int, int]]:
    total, step = iteration_space(loops), max(1, _CHUNK // uops)
    return [(start, min(total, start + step)) for start in range(0, total, step)]


def _pairs(cfg: VTAConfig, table: Ints, loops: tuple[Loop, ...], start: int, stop: int) -> tuple[Ints, Ints]:
    both = (offsets(loops, start, stop, 2)[:, None, :] + table[None, :, :]).reshape(-1, 2) % cfg.acc_depth
    return both[:, 0], both[:, 1]


def _as_slice(rows: Ints) -> slice | Ints:
    """A slice instead of consecutive rows: no copy to read, none to write."""
    if len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _last_write(dst: Ints, index: Ints) -> Ints:
    """For operation i, the last earlier operation that wrote ``index[i]``; -1 if none."""
    count = len(dst)
    keys = np.sort(dst * count + np.arange(count))
    found = np.searchsorted(keys, index * count + np.arange(count)) - 1
    key = keys[np.maximum(found, 0)]
    return np.where((found >= 0) & (key // count == index), key % count, -1)


def _steps(dst: Ints, src: Ints, apart: bool) -> list[Step]:
    depends = _last_write(dst, dst)
    if not apart:
        depends = np.maximum(depends, _last_write(dst, src))
    if int(depends.max()) < 0:
        return [Step(_as_slice(dst), _as_slice(src))]
    if apart:
        return _ranked(dst, src)
    steps, start = [], 0
    while start < len(dst):
        end = _first_at_least(depends, start)
        steps.append(Step(_as_slice(dst[start:end]), _as_slice(src[start:end])))
        start = end
    return steps


def _ranked(dst: Ints, src: Ints) -> list[Step]:
    """Reductions: the n-th operation on each accumulator is in step n."""
    order = np.argsort(dst, kind="stable")
    ordered = dst[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.arange(len(dst)) - first
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    starts = np.concatenate([[0], ends[:-1]])
    parts = [order[by_rank[start:end]] for start, end in zip(starts, ends, strict=True)]
    return [Step(_as_slice(dst[part]), _as_slice(src[part])) for part in parts]


def _first_at_least(depends: Ints, start: int) -> int:
    """The first operation after ``start`` that depends on one from ``start`` on."""
    window, at = 16, start + 1
    while at < len(depends):
        hit = np.flatnonzero(depends[at : at + window] >= start)
        if len(hit):
            return at + int(hit[0])
        at, window = at + window, window * 4
    return len(depends)


def run_alu(pads: Scratchpads, plan: AluPlan) -> Errors:
    """Execute a plan. Returns its sticky errors."""
    if isinstance(plan, ImmPlan):
        pads.acc[plan.rows] = _with_imm(plan, pads.acc[plan.rows], pads.cfg.acc_width)
    elif plan.steps is not None and plan.apart:
        _run_apart(pads, plan, plan.steps)
    else:
        _run_repeated(pads, plan)
    return plan.errors


def _power(base: Signed | int, exponent: Ints | int, bits: int) -> Ints:
    """base ** exponent modulo 2**bits, by squaring."""
    exponent = np.asarray(exponent, dtype=np.int64)
    square = wrap(np.asarray(base, dtype=np.int64), bits)
    result = np.ones(np.broadcast(square, exponent).shape, dtype=np.int64)
    while bool((exponent > 0).any()):
        result = np.where(exponent & 1, multiply_low(result, square, bits), result)
        square = multiply_low(square, square, bits)
        exponent = exponent >> 1
    return result


def _with_imm(plan: ImmPlan, acc: Signed, bits: int) -> Signed:
    kind = acc.dtype.type
    hits = np.asarray(1) if plan.hits is None else plan.hits[:, None]
    result: Signed
    match plan.op:
        case AluOp.MIN:
            result = np.minimum(acc, kind(plan.imm))
        case AluOp.MAX:
            result = np.maximum(acc, kind(plan.imm))
        case AluOp.ADD:
            result = acc + wrap(hits * plan.imm, bits).astype(kind)
        case AluOp.MUL:
            result = acc * _power(plan.imm, hits, bits).astype(kind)
        case AluOp.SHR:
            amount = max(-(bits - 1), min(bits - 1, plan.imm))
            if plan.hits is None and amount >= 0:
                result = acc >> kind(amount)
            else:
                total = np.asarray(hits * amount)
                # Right shifts compose by adding up; left shifts that add up to the width leave nothing.
                result = np.where(total <= -bits, 0, shift_right(acc, total, bits)).astype(kind)
    return result


def _operate(op: AluOp, left: Signed, right: Signed, bits: int) -> Signed:
    match op:
        case AluOp.MIN:
            return np.minimum(left, right)
        case AluOp.MAX:
            return np.maximum(left, right)
        case AluOp.ADD:
            return left + right
        case AluOp.MUL:
            return left * right
        case AluOp.SHR:
            return shift_right(left, right, bits).astype(left.dtype)


def _run_apart(pads: Scratchpads, plan: TensorPlan, steps: tuple[Step, ...]) -> None:
    """Sources never change: what repeats of the body do has a closed form, but for SHR."""
    acc, bits = pads.acc, pads.cfg.acc_width
    if plan.repeat > 1 and plan.op is AluOp.SHR:
        _run_repeated(pads, plan)
        return
    for step in steps:
        right = acc[step.src]
        if plan.repeat > 1 and plan.op is AluOp.ADD:
            right = multiply_low(right, plan.repeat, bits).astype(acc.dtype)
        elif plan.repeat > 1 and plan.op is AluOp.MUL:
            right = _power(right, plan.repeat, bits).astype(acc.dtype)
        acc[step.dst] = _operate(plan.op, acc[step.dst], right, bits)


def _run_repeated(pads: Scratchpads, plan: TensorPlan) -> None:
    """The body as often as it says, or until it changes nothing any more."""
    for _ in range(plan.repeat):
        before = pads.acc.copy() if plan.repeat > 1 else None
        for start, stop in _chunks(plan.loops, len(plan.table)):
            steps = plan.steps
            if steps is None:
                dst, src = _pairs(pads.cfg, plan.table, plan.loops, start, stop)
                steps = tuple(_steps(dst, src, apart=False))
            for step in steps:
                acc = pads.acc
                acc[step.dst] = _operate(plan.op, acc[step.dst], acc[step.src], pads.cfg.acc_width)
        if before is not None and np.array_equal(before, pads.acc):
            return
