"""GEMM of the functional device: micro-ops and loops turned into few BLAS products.

Accumulation is a sum modulo 2**acc_width, so the order of the products does not matter. Loops that
change the weight (or keep the accumulator) are expanded into micro-ops; the others sweep "pixels"
over the same weights. Micro-ops of one accumulator become one product over a longer reduction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from vta_arch.encoding import Insn

from .loops import Ints, Loop, Operation, as_rows, chunks, iteration_space, live_loops, offsets
from .scratchpads import WORKSPACE, Scratchpads

Floats = NDArray[np.float32]

EXACT_FLOAT32 = 1 << 24
"""Integers up to this magnitude are exact in float32, and so are their sums below it."""
MAX_TABLE = 1 << 16
"""Steps that are looked at together."""


@dataclass(frozen=True)
class Block:
    """Products with one reduction length k: rows x columns accumulators, one of them being 1.

    ``src`` [rows, k], ``wgt`` [columns, k], ``dst`` [rows, columns].
    """

    dst: Ints
    src: Ints
    wgt: Ints


def reset_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """A GEMM with the reset bit: zero every accumulator it addresses."""
    loops, _ = live_loops(insn, ("dst",))
    for positions in chunks(iteration_space(loops), MAX_TABLE // len(table)):
        dst = offsets(loops, positions, 1) + table[None, :, 0]
        rows = as_rows(np.unique(dst % pads.cfg.acc_depth))
        yield partial(pads.acc.__setitem__, rows, 0)


def overwrite_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """A GEMM that overwrites: of all steps on an accumulator, the product of the last one stays."""
    depth = pads.cfg.acc_depth
    loops, _ = live_loops(insn, ("dst", "src", "wgt"))
    for positions in chunks(iteration_space(loops), MAX_TABLE // len(table)):
        steps = (offsets(loops, positions, 3)[:, None, :] + table[None, :, :]).reshape(-1, 3)[::-1]
        dst, last = np.unique(steps[:, 0] % depth, return_index=True)
        kept = np.column_stack((dst, steps[last, 1:]))
        yield partial(pads.acc.__setitem__, as_rows(dst), 0)
        for block in _group(kept):
            yield from _products(pads, block, (), 1)


def gemm_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """The products of a GEMM whose micro-ops are ``table`` [n, 3]."""
    loops, repeat = live_loops(insn, ("dst", "src", "wgt"))
    expand = tuple(loop for loop in loops if loop[1][2] or not loop[1][0])
    pixels = tuple(loop for loop in loops if loop not in expand)
    for positions in chunks(iteration_space(expand), MAX_TABLE // len(table)):
        shift = offsets(expand, positions, 3)
        for block in _group((shift[:, None, :] + table[None, :, :]).reshape(-1, 3)):
            yield from _products(pads, block, pixels, repeat)


def _group(table: Ints) -> Iterator[Block]:
    """Micro-ops with equal dst joined; joined ones that share sources or weights joined again."""
    table = table[np.argsort(table[:, 0], kind="stable")]
    dst, first, count = np.unique(table[:, 0], return_index=True, return_counts=True)
    for k in np.unique(count):
        chosen = count == k
        rows = first[chosen][:, None] + np.arange(k)[None, :]
        yield from _join(dst[chosen], table[rows, 1], table[rows, 2])


def _join(dst: Ints, src: Ints, wgt: Ints) -> Iterator[Block]:
    if (src == src[:1]).all():
        yield Block(dst[None, :], src[:1], wgt)
        return
    if (wgt == wgt[:1]).all():
        yield Block(dst[:, None], src, wgt[:1])
        return
    lists, member = np.unique(wgt, axis=0, return_inverse=True)
    member = member.reshape(-1)
    order = np.argsort(member, kind="stable")
    ends = np.cumsum(np.bincount(member, minlength=len(lists)))
    for number, end in enumerate(ends):
        rows = order[(ends[number - 1] if number else 0) : end]
        yield Block(dst[rows][:, None], src[rows], lists[number][None, :])


def _products(pads: Scratchpads, block: Block, pixels: tuple[Loop, ...], repeat: int) -> Iterator[Operation]:
    """Cut a block so that each product fits the workspace, and is exact."""
    cfg, sweep = pads.cfg, iteration_space(pixels)
    largest = max(abs(cfg.inp_min), cfg.inp_max) * max(abs(cfg.wgt_min), cfg.wgt_max)
    # Bounding the reduction keeps every partial sum of a float32 product an exact integer.
    exact = EXACT_FLOAT32 // (largest * cfg.block_in)
    for reduced in chunks(block.src.shape[1], min(exact, WORKSPACE // (cfg.block_in * max(cfg.batch, cfg.block_out)))):
        k = len(reduced)
        for columns in chunks(len(block.wgt), WORKSPACE // (k * cfg.block_in * cfg.block_out)):
            widest = max(k * cfg.block_in, len(columns) * cfg.block_out)
            for positions in chunks(len(block.src) * sweep, WORKSPACE // (cfg.batch * widest)):
                row, pixel = np.divmod(positions, sweep)
                shift = offsets(pixels, pixel, 2)
                src = block.src[row[:, None], reduced[None, :]] + shift[:, 1:]
                dst = block.dst[row[None, :], columns[:, None]] + shift[None, :, 0]
                wgt = block.wgt[columns[:, None], reduced[None, :]]
                yield _product(pads, dst % cfg.acc_depth, src % cfg.inp_depth, wgt % cfg.wgt_depth, repeat)


def _product(pads: Scratchpads, dst: Ints, src: Ints, wgt: Ints, repeat: int) -> Operation:
    """acc[dst] += repeat * inp[src] @ wgt, with ``dst`` [columns, rows], ``src`` [rows, k], ``wgt`` [columns, k]."""
    cfg, space = pads.cfg, pads.workspace
    (rows, k), columns = src.shape, len(wgt)
    left, fetch_left = _operand(pads.inp.reshape(cfg.inp_depth, -1), src, space.left)
    right, fetch_right = _operand(pads.tiles.reshape(cfg.wgt_depth, -1), wgt, space.right)
    fetches = [fetch for fetch in (fetch_left, fetch_right) if fetch is not None]
    if cfg.batch > 1:
        lanes = left.reshape(rows, k, cfg.batch, cfg.block_in).transpose(0, 2, 1, 3)
        turned = space.turned[: left.size].reshape(lanes.shape)
        fetches.append(lambda: np.copyto(turned, lanes))
        left = turned
    left = left.reshape(rows * cfg.batch, k * cfg.block_in)
    right = right.reshape(columns, k * cfg.block_in, cfg.block_out)
    size = columns * rows * cfg.batch * cfg.block_out
    product = space.product[:size].reshape(columns, rows * cfg.batch, cfg.block_out)
    if columns == 1:
        right, product = right[0], product[0]
    sums = space.sums[:size].reshape(columns * rows, cfg.batch * cfg.block_out)
    whole = product.reshape(sums.shape)
    accumulate = accumulation(pads, dst.reshape(-1), sums)
    factor = np.array(repeat, dtype=np.int64).astype(np.int32)

    def operation() -> None:
        for fetch in fetches:
            fetch()
        np.matmul(left, right, out=product)
        np.copyto(sums, whole, casting="unsafe")
        if repeat > 1:
            np.multiply(sums, factor, out=sums)
        accumulate()

    return operation


def _operand(memory: Floats, indices: Ints, buffer: Floats) -> tuple[Floats, Operation | None]:
    """Rows ``indices`` of ``memory``, and what has to run first if they are not just a part of it."""
    flat = indices.reshape(-1).astype(np.intp, copy=False)  # what `take` wants on 32-bit processors
    rows = as_rows(flat)
    if isinstance(rows, slice) and rows.stop - rows.start == len(flat):
        return memory[rows], None
    gathered = buffer[: len(flat) * memory.shape[1]].reshape(len(flat), -1)
    # The indices are in range; any other mode than "raise" writes to the buffer directly.
    return gathered, lambda: memory.take(flat, 0, gathered, "clip")


def accumulation(pads: Scratchpads, dst: Ints, sums: NDArray[np.int32]) -> Operation:
    """acc[dst] += sums; both wrap by themselves."""
    rows, order = as_rows(dst), np.argsort(dst, kind="stable")
    unique, starts = np.unique(dst[order], return_index=True)
    if len(unique) < len(dst):
        return lambda: _add(pads, unique, np.add.reduceat(sums[order], starts, axis=0, dtype=np.int32))
    if isinstance(rows, slice):
        view = pads.acc[rows]
        return lambda: np.add(view, sums, out=view, casting="unsafe")
    return lambda: _add(pads, dst, sums)


def _add(pads: Scratchpads, rows: Ints, sums: NDArray[np.int32]) -> None:
    pads.acc[rows] += sums.astype(pads.acc.dtype, copy=False)
