"""GEMM of the functional device: micro-ops and loops turned into few BLAS products.

Accumulation is a sum modulo 2**acc_width, so the order of the products does not matter. Loops that
change the weight (or keep the accumulator) are expanded into micro-ops; the others sweep "pixels"
over the same weights. Micro-ops of one accumulator become one product over a longer reduction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, decode_uops
from vta_arch.registers import Errors

from .loops import Loop, iteration_space, live_loops, offsets
from .scratchpads import Scratchpads

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

EXACT_FLOAT32 = 1 << 24
"""Integers up to this magnitude are exact in float32, and so are their sums below it."""
_MAX_TABLE = 1 << 16
_MAX_OPERAND = 1 << 20


@dataclass(frozen=True)
class Block:
    """Products with one reduction length k: rows x columns accumulators, one of them being 1.

    ``src`` [rows, k], ``wgt`` [columns, k], ``dst`` [rows, columns].
    """

    dst: Ints
    src: Ints
    wgt: Ints


@dataclass(frozen=True)
class GemmPlan:
    """One GEMM instruction with the micro-ops it found, ready to run many times."""

    loops: tuple[Loop, ...]
    pixels: tuple[Loop, ...]
    repeat: int
    errors: Errors
    blocks: tuple[Block, ...] | None
    """None: too many micro-ops to keep; they are expanded again in each run."""
    table: Ints


def plan_gemm(cfg: VTAConfig, insn: Insn, uop_words: NDArray[np.uint32]) -> GemmPlan:
    """Group the work of a GEMM whose micro-ops are ``uop_words`` (read in order, wrapped)."""
    table = decode_uops(cfg, uop_words)
    names = ("dst", "src", "wgt")
    reset = bool(insn["reset"])
    loops, repeat = live_loops(insn, names[:1] if reset else names)
    errors = Errors(0)
    depths = (cfg.acc_depth, cfg.inp_depth, cfg.wgt_depth)
    for column, depth in enumerate(depths[:1] if reset else depths):
        if int(table[:, column].max()) + sum((n - 1) * f[column] for n, f in loops) >= depth:
            errors |= Errors.INDEX_RANGE
    if insn["uop_end"] > cfg.uop_depth:
        errors |= Errors.INDEX_RANGE
    if reset:
        return GemmPlan(loops, (), repeat, errors, None, table)
    expand = tuple(loop for loop in loops if loop[1][2] or not loop[1][0])
    pixels = tuple(loop for loop in loops if loop not in expand)
    small = iteration_space(expand) * len(table) <= _MAX_TABLE
    blocks = tuple(_blocks(table, expand)) if small else None
    return GemmPlan(expand, pixels, repeat, errors, blocks, table)


def _blocks(table: Ints, expand: tuple[Loop, ...]) -> Iterator[Block]:
    """Blocks of the micro-ops ``table`` under the loops ``expand``, a bounded number at a time."""
    total = iteration_space(expand)
    step = max(1, _MAX_TABLE // len(table))
    for start in range(0, total, step):
        shift = offsets(expand, start, min(total, start + step), 3)
        yield from _group((shift[:, None, :] + table[None, :, :]).reshape(-1, 3))


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


def run_gemm(pads: Scratchpads, plan: GemmPlan) -> Errors:
    """Execute a plan. Returns its sticky errors."""
    if plan.blocks is not None:
        for block in plan.blocks:
            _run_block(pads, block, plan)
    else:
        for block in _blocks(plan.table, plan.loops):
            _run_block(pads, block, plan)
    return plan.errors


def run_reset(pads: Scratchpads, plan: GemmPlan) -> Errors:
    """Execute the plan of a GEMM with the reset bit: zero every accumulator it addresses."""
    total = iteration_space(plan.loops)
    step = max(1, _MAX_TABLE // len(plan.table))
    for start in range(0, total, step):
        shift = offsets(plan.loops, start, min(total, start + step), 1)
        pads.acc[((shift + plan.table[None, :, 0]) % pads.cfg.acc_depth).reshape(-1)] = 0
    return plan.errors


def _run_block(pads: Scratchpads, block: Block, plan: GemmPlan) -> None:
    cfg = pads.cfg
    largest = max(abs(cfg.inp_min), cfg.inp_max) * max(abs(cfg.wgt_min), cfg.wgt_max)
    # Bounding the reduction keeps every partial sum of a float32 product an exact integer.
    k_step = max(1, EXACT_FLOAT32 // (largest * cfg.block_in))
    for k in range(0, block.src.shape[1], k_step):
        _run_slice(pads, block.dst, block.src[:, k : k + k_step], block.wgt[:, k : k + k_step], plan)


def _run_slice(pads: Scratchpads, dst: Ints, src: Ints, wgt: Ints, plan: GemmPlan) -> None:
    cfg, k = pads.cfg, src.shape[1]
    limit = max(1, _MAX_OPERAND // (k * cfg.batch * cfg.block_in))
    c_step = max(1, _MAX_OPERAND // (k * cfg.block_out * cfg.block_in))
    pixel_count = iteration_space(plan.pixels)
    p_step = min(pixel_count, limit)
    r_step = max(1, limit // p_step)
    for column in range(0, len(wgt), c_step):
        tiles = pads.wgt[wgt[column : column + c_step] % cfg.wgt_depth]
        weights = tiles.transpose(0, 2, 1, 3).reshape(-1, k * cfg.block_in)
        for pixel in range(0, pixel_count, p_step):
            shift = offsets(plan.pixels, pixel, min(pixel_count, pixel + p_step), 2)
            for row in range(0, len(src), r_step):
                part = src[row : row + r_step, None, :] + shift[None, :, 1, None]
                where = dst[row : row + r_step, None, column : column + c_step] + shift[None, :, 0, None]
                product = _product(pads, part.reshape(-1, k) % cfg.inp_depth, weights)
                _accumulate(pads, (where % cfg.acc_depth).reshape(-1), product, plan.repeat)


def _product(pads: Scratchpads, src: Ints, weights: Floats) -> Floats:
    """[rows * columns, batch * block_out]: ``src`` [rows, k] times ``weights`` [columns * block_out, k * block_in]."""
    cfg, rows = pads.cfg, len(src)
    vectors = pads.inp[src]
    if cfg.batch > 1:
        vectors = vectors.transpose(0, 2, 1, 3)
    result = vectors.reshape(rows * cfg.batch, -1) @ weights.T
    columns = len(weights) // cfg.block_out
    if cfg.batch > 1 and columns > 1:
        result = result.reshape(rows, cfg.batch, columns, cfg.block_out).transpose(0, 2, 1, 3)
    return result.reshape(rows * columns, cfg.batch * cfg.block_out)


def _accumulate(pads: Scratchpads, dst: Ints, product: Floats, repeat: int) -> None:
    values = product.astype(np.int32)
    if repeat > 1:
        values = (values.astype(np.int64) * repeat).astype(np.int32)
    values = values.astype(pads.acc.dtype, copy=False)
    seen = np.zeros(pads.cfg.acc_depth, dtype=bool)
    seen[dst] = True
    if int(np.count_nonzero(seen)) == len(dst):
        pads.acc[dst] += values
    else:
        np.add.at(pads.acc, dst, values)
