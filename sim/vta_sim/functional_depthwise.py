"""DEPTHWISE of the functional device: iterations that share weights become one BLAS product for each channel pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig
from vta_arch.encoding import Insn
from vta_arch.isa import ACC_BANKS
from vta_arch.registers import Errors

from .functional_gemm import EXACT_FLOAT32, MAX_TABLE, accumulation
from .loops import Ints, Loop, Operation, as_rows, chunks, iteration_space, live_loops, offsets
from .scratchpads import WORKSPACE, Scratchpads

Kept = NDArray[np.bool_]
_NAMES = ("dst", "src", "wgt")


def written(cfg: VTAConfig, dst: Ints) -> Ints:
    """[..., outputs]: the accumulators of iterations whose last micro-op has ``dst`` (not wrapped)."""
    half = cfg.acc_depth // ACC_BANKS
    bank, place = np.divmod(dst % cfg.acc_depth, half)
    return bank[..., None] * half + (place[..., None] + np.arange(cfg.depthwise_outputs)) % half


def output_errors(cfg: VTAConfig, insn: Insn, table: Ints) -> Errors:
    """INDEX_RANGE if the accumulators of an iteration wrap within their bank."""
    loops, _ = live_loops(insn, ("dst",))
    for positions in chunks(iteration_space(loops), MAX_TABLE):
        rows = written(cfg, offsets(loops, positions, 1)[:, 0] + table[-1, 0])
        if bool((np.diff(rows, axis=1) != 1).any()):
            return Errors.INDEX_RANGE
    return Errors(0)


# Operations --------------------------------------------------------------------------------
def depthwise_operations(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """The products of a DEPTHWISE whose micro-ops are ``table`` [n, 3]."""
    loops, repeat = live_loops(insn, _NAMES)
    for positions in chunks(iteration_space(loops), MAX_TABLE // len(table)):
        kept = np.ones((len(positions), pads.cfg.depthwise_outputs), dtype=bool)
        yield from _iterations(pads, table, offsets(loops, positions, 3), kept, repeat)


def depthwise_reset(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """A DEPTHWISE with the reset bit: zero every accumulator that it writes."""
    loops, _ = live_loops(insn, ("dst",))
    for positions in chunks(iteration_space(loops), MAX_TABLE):
        rows = np.unique(written(pads.cfg, offsets(loops, positions, 1)[:, 0] + table[-1, 0]))
        yield _zero(pads, rows)


def depthwise_overwrite(pads: Scratchpads, insn: Insn, table: Ints) -> Iterator[Operation]:
    """A DEPTHWISE that overwrites: of all results for an accumulator, the last one stays."""
    loops, _ = live_loops(insn, _NAMES)
    last = _last_results(pads.cfg, loops, int(table[-1, 0]))
    yield _zero(pads, np.flatnonzero(last >= 0))
    outputs = pads.cfg.depthwise_outputs
    positions, row = np.unique(last[last >= 0] // outputs, return_inverse=True)
    kept = np.zeros((len(positions), outputs), dtype=bool)
    kept[row, last[last >= 0] % outputs] = True
    yield from _iterations(pads, table, offsets(loops, positions, 3), kept, 1)


def _zero(pads: Scratchpads, rows: Ints) -> Operation:
    where = as_rows(rows)
    return lambda: pads.acc.__setitem__(where, 0)


def _last_results(cfg: VTAConfig, loops: tuple[Loop, ...], dst: int) -> Ints:
    """[acc_depth]: number of the last result (iteration * outputs + output) for each accumulator, -1 for none."""
    last = np.full(cfg.acc_depth, -1, dtype=np.int64)
    outputs = cfg.depthwise_outputs
    for positions in chunks(iteration_space(loops), MAX_TABLE):
        rows = written(cfg, offsets(loops, positions, 1)[:, 0] + dst).reshape(-1)
        numbers = positions[:, None] * outputs + np.arange(outputs)
        np.maximum.at(last, rows, numbers.reshape(-1))
    return last


def _iterations(pads: Scratchpads, table: Ints, shift: Ints, kept: Kept, repeat: int) -> Iterator[Operation]:
    """Iterations, ``shift`` [n, 3] away from the micro-ops; only results that are ``kept`` [n, outputs] count."""
    cfg = pads.cfg
    taps, rows = cfg.depthwise_taps, written(cfg, shift[:, 0] + table[-1, 0])
    row_size = taps * cfg.batch * cfg.block_in
    largest = max(abs(cfg.inp_min), cfg.inp_max) * max(abs(cfg.wgt_min), cfg.wgt_max)
    # Bounding the reduction keeps every partial sum of a float32 product an exact integer.
    exact = EXACT_FLOAT32 // (largest * taps * DEPTHWISE_GROUP)
    for weights in np.unique(shift[:, 2]):
        members = np.flatnonzero(shift[:, 2] == weights)
        for reduced in chunks(
            len(table), min(exact, WORKSPACE // (row_size * cfg.depthwise_outputs * DEPTHWISE_GROUP))
        ):
            wgt = (table[reduced, 2] + weights) % cfg.wgt_depth
            for part in chunks(len(members), WORKSPACE // (row_size * len(reduced))):
                chosen = members[part]
                src = shift[chosen, 1, None] + table[None, reduced, 1]
                yield _product(pads, rows[chosen], src, wgt, kept[chosen], repeat)


def _product(pads: Scratchpads, dst: Ints, src: Ints, wgt: Ints, kept: Kept, repeat: int) -> Operation:
    """acc[dst] += repeat * the sums over micro-ops and taps, where ``kept``.

    ``dst`` and ``kept`` [n, outputs], ``src`` [n, k] not wrapped, ``wgt`` [k].
    """
    cfg, space = pads.cfg, pads.workspace
    (n, outputs), k, taps, group = dst.shape, len(wgt), cfg.depthwise_taps, DEPTHWISE_GROUP
    pairs = cfg.block_in // group
    flat = ((src[..., None] + np.arange(taps)) % cfg.inp_depth).reshape(-1).astype(np.intp, copy=False)
    inputs = pads.inp.reshape(cfg.inp_depth, -1)
    gathered = space.left[: flat.size * inputs.shape[1]].reshape(flat.size, -1)
    lanes = gathered.reshape(n, k, taps, cfg.batch, pairs, group).transpose(4, 0, 3, 1, 2, 5)
    turned = space.turned[: gathered.size].reshape(lanes.shape)
    left = turned.reshape(pairs, n * cfg.batch, k * taps * group)
    columns = group * outputs * taps
    right = space.right[: k * columns * cfg.block_out].reshape(pairs, k, taps, group, outputs, group)
    product = space.product[: n * cfg.batch * outputs * cfg.block_out].reshape(pairs, n * cfg.batch, -1)
    sums = space.sums[: product.size].reshape(n, outputs, cfg.batch, pairs, group)
    results = product.reshape(pairs, n, cfg.batch, outputs, group).transpose(1, 3, 2, 0, 4)
    rows = sums.reshape(n * outputs, -1)
    everything = bool(kept.all())
    chosen = np.flatnonzero(kept)
    picked = rows if everything else space.picked[: chosen.size * rows.shape[1]].reshape(chosen.size, -1)
    accumulate = accumulation(pads, dst[kept], picked)
    factor = np.array(repeat, dtype=np.int64).astype(np.int32)

    def operation() -> None:
        inputs.take(flat, 0, gathered, "clip")
        np.copyto(turned, lanes)
        tiles = pads.tiles[wgt, :columns].reshape(k, outputs, group, taps, pairs, group)
        np.copyto(right, tiles.transpose(4, 0, 3, 2, 1, 5))
        np.matmul(left, right.reshape(pairs, k * taps * group, -1), out=product)
        np.copyto(sums, results, casting="unsafe")
        if repeat > 1:
            np.multiply(sums, factor, out=sums)
        if not everything:
            rows.take(chosen, 0, picked, "clip")
        accumulate()

    return operation
