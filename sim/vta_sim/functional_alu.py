"""ALU of the functional device: sequential semantics, vectorised where operations are independent.

Every operation of an instruction sees what the earlier ones wrote. An immediate operand needs only
the number of times an accumulator is hit. Otherwise the operations are cut into runs in which none
depends on an earlier one of the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import AluOp
from vta_arch.numerics import multiply_low, wrap

from .loops import Ints, Loop, Operation, Rows, as_rows, chunks, iteration_space, live_loops, offsets, sequential_loops
from .scratchpads import Scratchpads

Signed = NDArray[Any]
CHUNK = 1 << 18
"""Steps that are looked at together."""
_UFUNCS = {AluOp.MIN: np.minimum, AluOp.MAX: np.maximum, AluOp.ADD: np.add, AluOp.MUL: np.multiply}


def alu_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """The operations of an ALU instruction of known operation whose micro-ops are ``table`` [n, >= 2]."""
    make = _immediate if insn["use_imm"] else _tensor
    return make(pads, insn, table[:, :2])


# Immediate operand -------------------------------------------------------------------------
def _immediate(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    depth, bits = pads.cfg.acc_depth, pads.cfg.acc_width
    loops, repeat = live_loops(insn, ("dst",))
    hits = np.zeros(depth, dtype=np.int64)
    for positions in chunks(iteration_space(loops), CHUNK // len(table)):
        dst = offsets(loops, positions, 1) + table[None, :, 0]
        hits += np.bincount(dst.reshape(-1) % depth, minlength=depth)
    rows = np.flatnonzero(hits)
    count = hits[rows, None] * repeat
    if bool((count == 1).all()):
        count = np.ones((), dtype=np.int64)
    for op, operand in _in_one(AluOp(insn["alu_opcode"]), insn["imm"], count, bits):
        # Indexing with nothing gives the array itself, again and again.
        yield _operation(pads, op, as_rows(rows), partial(operand.astype(pads.acc.dtype).__getitem__, ...))


def _in_one(op: AluOp, imm: int, count: Ints, bits: int) -> Iterator[tuple[AluOp, Ints]]:
    """Operations that do the same as ``count`` times ``op`` with ``imm``."""
    match op:
        case AluOp.MIN | AluOp.MAX:
            yield op, np.asarray(imm)
        case AluOp.ADD:
            yield op, wrap(count * np.int64(imm), bits)
        case AluOp.MUL:
            yield op, _power(np.asarray(imm), count, bits)
        case AluOp.SHR:
            # Right shifts compose by adding up; left shifts that add up to the width leave nothing.
            total = count * np.int64(_limited(np.asarray(imm), bits))
            yield op, _limited(total, bits)
            if bool((total <= -bits).any()):
                yield AluOp.MUL, (total > -bits).astype(np.int64)


def _limited(amount: Signed, bits: int) -> Signed:
    """Shift amounts, saturated."""
    return np.minimum(np.maximum(amount, 1 - bits), bits - 1)


def _power(base: Signed, exponent: Ints | int, bits: int) -> Ints:
    """base ** exponent modulo 2**bits, by squaring."""
    exponent = np.asarray(exponent, dtype=np.int64)
    square = wrap(base, bits)
    result = np.ones(np.broadcast(square, exponent).shape, dtype=np.int64)
    while bool((exponent > 0).any()):
        result = np.where(exponent & 1, multiply_low(result, square, bits), result)
        square = multiply_low(square, square, bits)
        exponent = exponent >> 1
    return result


# Operations --------------------------------------------------------------------------------
def _operate(op: AluOp, left: Signed, right: Signed, out: Signed) -> None:
    """``out`` = left op right, in the accumulators' type, which wraps by itself."""
    if op is not AluOp.SHR:
        _UFUNCS[op](left, right, out=out)
        return
    amount = _limited(right, 8 * left.itemsize)
    if int(amount.min()) < 0:
        left = np.left_shift(left, np.maximum(-amount, 0), out=out)
        amount = np.maximum(amount, 0)
    np.right_shift(left, amount, out=out)


def _operation(pads: Scratchpads, op: AluOp, dst: Rows, operand: Callable[[], Signed]) -> Operation:
    """acc[dst] = acc[dst] op operand(), for distinct ``dst``."""
    acc = pads.acc
    if isinstance(dst, slice):
        view = acc[dst]
        return lambda: _operate(op, view, operand(), view)

    def operation() -> None:
        left = acc[dst]
        _operate(op, left, operand(), left)
        acc[dst] = left

    return operation


# Accumulator operand -----------------------------------------------------------------------
def _tensor(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    op = AluOp(insn["alu_opcode"])
    loops, repeat = live_loops(insn, ("dst", "src"))
    apart = False
    if iteration_space(loops) * len(table) <= CHUNK:
        dst, src = _pairs(pads.cfg, table, loops, np.arange(iteration_space(loops)))
        apart = not np.isin(src, dst).any()
    if apart and op is not AluOp.SHR:
        # Sources never change: what repeats do has a closed form.
        yield from (_step(pads, op, *rows, repeat) for rows in ranked(dst, src))
        return
    loops, repeat = sequential_loops(insn, ("dst", "src"))
    yield from repeated(pads, partial(_body, pads, op, table, loops), repeat)


def _body(pads: Scratchpads, op: AluOp, table: Ints, loops: tuple[Loop, ...]) -> Iterator[Operation]:
    """The loops once, cut into steps of operations that do not depend on each other."""
    for positions in chunks(iteration_space(loops), CHUNK // len(table)):
        for dst, src in _steps(*_pairs(pads.cfg, table, loops, positions)):
            yield _step(pads, op, dst, src)


def repeated(pads: Scratchpads, body: Callable[[], Iterator[Operation]], repeat: int) -> Iterator[Operation]:
    """The operations of ``body``, ``repeat`` times."""
    if repeat == 1:
        yield from body()
    else:
        yield partial(_run_repeated, pads, body, repeat)


def _run_repeated(pads: Scratchpads, body: Callable[[], Iterable[Operation]], repeat: int) -> None:
    """The body as often as it says, or until it changes nothing any more."""
    for _ in range(repeat):
        before = pads.acc.copy()
        for operation in body():
            operation()
        if np.array_equal(before, pads.acc):
            return


def _step(pads: Scratchpads, op: AluOp, dst: Ints, src: Ints, repeat: int = 1) -> Operation:
    """acc[dst] = acc[dst] op acc[src], ``repeat`` times."""
    acc, rows, bits = pads.acc, as_rows(src), pads.cfg.acc_width
    if repeat > 1 and op is AluOp.ADD:
        return _operation(pads, op, as_rows(dst), lambda: multiply_low(acc[rows], repeat, bits).astype(acc.dtype))
    if repeat > 1 and op is AluOp.MUL:
        return _operation(pads, op, as_rows(dst), lambda: _power(acc[rows], repeat, bits).astype(acc.dtype))
    if isinstance(rows, slice):
        view = acc[rows]
        return _operation(pads, op, as_rows(dst), lambda: view)
    return _operation(pads, op, as_rows(dst), lambda: acc[rows])


def _pairs(cfg: VTAConfig, table: Ints, loops: tuple[Loop, ...], positions: Ints) -> tuple[Ints, Ints]:
    both = (offsets(loops, positions, 2)[:, None, :] + table[None, :, :]).reshape(-1, 2) % cfg.acc_depth
    return both[:, 0], both[:, 1]


def _last_write(dst: Ints, index: Ints) -> Ints:
    """For operation i, the last earlier operation that wrote ``index[i]``; -1 if none."""
    count = len(dst)
    keys = np.sort(dst * count + np.arange(count))
    found = np.searchsorted(keys, index * count + np.arange(count)) - 1
    key = keys[np.maximum(found, 0)]
    return np.where((found >= 0) & (key // count == index), key % count, -1)


def _steps(dst: Ints, src: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The pairs in order, cut before each that depends on an earlier one of its step."""
    if not np.isin(src, dst).any():
        yield from ranked(dst, src)
        return
    depends = np.maximum(_last_write(dst, dst), _last_write(dst, src))
    start = 0
    while start < len(dst):
        end = _first_at_least(depends, start)
        yield dst[start:end], src[start:end]
        start = end


def ranked(dst: Ints, src: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Reductions, whose sources nobody writes: the n-th operation on each accumulator is in step n."""
    order = np.argsort(dst, kind="stable")
    ordered = dst[order]
    rank = np.arange(len(dst)) - np.searchsorted(ordered, ordered)
    for part in np.split(order[np.argsort(rank, kind="stable")], np.cumsum(np.bincount(rank))[:-1]):
        yield dst[part], src[part]


def _first_at_least(depends: Ints, start: int) -> int:
    """The first operation after ``start`` that depends on one from ``start`` on."""
    window, at = 16, start + 1
    while at < len(depends):
        hit = np.flatnonzero(depends[at : at + window] >= start)
        if len(hit):
            return at + int(hit[0])
        at, window = at + window, window * 4
    return len(depends)
