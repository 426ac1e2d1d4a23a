"""Instruction sequences that provoke hazards between the engines of the compute unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from vta_arch.encoding import Insn, alu, gemm
from vta_arch.isa import AluOp, Memory

from .stream_pieces import Pieces, Window, Windows, chance, pick

MAX_DISTANCE = 5
"""Steps from an ALU result to its use as an operand."""


def hazard(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """One random sequence within ``windows``; all of them must hold data, and none may run past its end."""
    kinds: list[Callable[[Pieces, Sequence[Windows]], list[Insn]]]
    kinds = [gemm_row, alu_chain, alu_row, micro_op_overwrites, loads_between, token_only, mixed]
    return kinds[pick(pieces.rng, 0, len(kinds) - 1)](pieces, windows)


def _any(pieces: Pieces, windows: Sequence[Windows]) -> Windows:
    return windows[pick(pieces.rng, 0, len(windows) - 1)]


def _few(pieces: Pieces, windows: Windows, most: int = 3) -> Windows:
    """The same windows with at most ``most`` accumulators."""
    size = pick(pieces.rng, 1, min(most, windows.acc.size))
    base = pick(pieces.rng, windows.acc.base, windows.acc.base + windows.acc.size - size)
    return replace(windows, acc=Window(base, size))


def gemm_row(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """Many GEMM in a row on few accumulators, with all resets, in one bank or alternating."""
    rng = pieces.rng
    places = [_few(pieces, _any(pieces, windows)) for _ in range(pick(rng, 1, 2))]
    fetch, first, _ = pieces.load_uops(
        np.array([[w.acc.base, w.inp.base, w.wgt.base] for w in places], dtype=np.int64), 0
    )
    insns = [fetch]
    for _ in range(pick(rng, 2, 7)):
        number = pick(rng, 0, len(places) - 1)
        place = places[number]
        outer, inner = pick(rng, 1, 3), pick(rng, 1, place.acc.size)
        fields = {
            "uop_bgn": first + number,
            "uop_end": first + number + 1,
            "iter_out": outer,
            "iter_in": inner,
            "dst_factor_in": 1,
            "src_factor_in": pick(rng, 0, (place.inp.size - 1) // max(1, inner - 1)),
            "wgt_factor_out": pick(rng, 0, (place.wgt.size - 1) // max(1, outer - 1)),
        }
        insns.append(gemm(pieces.cfg, reset=int(chance(rng, 0.3)), **fields, **pieces.one_bank(place)))
    return insns


def alu_chain(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """ALU operations whose steps read what one of the last steps wrote, and the other operand before it."""
    rng, place = pieces.rng, _any(pieces, windows)
    acc = place.acc
    distance = pick(rng, 1, min(MAX_DISTANCE, acc.size - 1)) if acc.size > 1 else 0
    up = chance(rng, 0.7)
    dst, src = (acc.base + distance, acc.base) if up else (acc.base, acc.base + distance)
    fetch, first, _ = pieces.load_uops(np.array([[dst, src, 0]], dtype=np.int64), 0)
    insns = [fetch]
    for _ in range(pick(rng, 1, 4)):
        steps = {"iter_out": pick(rng, 1, 2), "iter_in": pick(rng, 1, acc.size - distance)}
        factors = {"dst_factor_in": 1, "src_factor_in": 1}
        if chance(rng, 0.2):
            factors = {"dst_factor_in": 0, "src_factor_in": 0}
        values = {"use_imm": int(chance(rng, 0.25)), "imm": pick(rng, -9, 9)}
        op = AluOp(pick(rng, 0, 4))
        loop = {"uop_bgn": first, "uop_end": first + 1, **steps, **factors}
        insns.append(alu(pieces.cfg, op, **values, **loop, **pieces.one_bank(place)))
    return insns


def alu_row(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """Many one-step ALU operations on few accumulators of any bank, tensor-tensor across banks included."""
    rng = pieces.rng
    spots = [_few(pieces, _any(pieces, windows), 1).acc.base for _ in range(pick(rng, 2, 4))]
    count = min(pick(rng, 2, 6), pieces.uop_window.size)
    table = np.array([[spots[pick(rng, 0, len(spots) - 1)] for _ in range(2)] + [0] for _ in range(count)])
    fetch, first, _ = pieces.load_uops(table.astype(np.int64), 0)
    insns = [fetch]
    for _ in range(pick(rng, 2, 5)):
        begin = first + pick(rng, 0, count - 1)
        values = {"use_imm": int(chance(rng, 0.3)), "imm": pick(rng, -9, 9)}
        loop = {"uop_bgn": begin, "uop_end": pick(rng, begin + 1, first + count), "iter_out": 1, "iter_in": 1}
        insns.append(alu(pieces.cfg, AluOp(pick(rng, 0, 4)), **values, **loop))
    return insns


def micro_op_overwrites(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """GEMM and ALU right before and after LOAD UOP into the same or other micro-ops."""
    insns: list[Insn] = []
    for _ in range(pick(pieces.rng, 2, 3)):
        place = _any(pieces, windows)
        insns += pieces.gemm_pair(place) if chance(pieces.rng, 0.7) else pieces.alu_pair(place)
    return insns


def loads_between(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """LOAD ACC between GEMM and ALU, on the accumulators that they use, their bank, or the other one."""
    rng = pieces.rng
    insns = pieces.gemm_pair(_any(pieces, windows))
    for _ in range(pick(rng, 1, 3)):
        place = _any(pieces, windows)
        part = _few(pieces, place) if chance(rng, 0.5) else place
        insns.append(pieces.partial_load(Memory.ACC if chance(rng, 0.6) else Memory.ACC_8BIT, part))
        if chance(rng, 0.6):
            again = _few(pieces, _any(pieces, windows))
            insns += pieces.gemm_pair(again) if chance(rng, 0.6) else pieces.alu_pair(again)
    return insns


def token_only(pieces: Pieces, _windows: Sequence[Windows]) -> list[Insn]:
    """Instructions that move nothing, back to back."""
    memories = (Memory.UOP, Memory.ACC, Memory.ACC_8BIT)
    return [pieces.no_op(memories[pick(pieces.rng, 0, 2)]) for _ in range(pick(pieces.rng, 2, 5))]


def mixed(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """GEMM, ALU and loads of few accumulators in any order."""
    rng, insns = pieces.rng, list[Insn]()
    places = [_few(pieces, windows_, 2) for windows_ in windows]
    for _ in range(pick(rng, 2, 4)):
        place, kind = _any(pieces, places), rng.random()
        if kind < 0.4:
            insns += pieces.gemm_pair(place)
        elif kind < 0.75:
            insns += pieces.alu_pair(place)
        else:
            insns.append(pieces.partial_load(Memory.ACC, place))
    return insns
