"""Instruction sequences that provoke hazards between the engines of the compute unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from vta_arch.encoding import Insn, alu, depthwise, gemm
from vta_arch.isa import AluOp, Memory

from .extension_pieces import depthwise_pair, requant_pair
from .stream_pieces import Pieces, Window, Windows, chance, pick

MAX_DISTANCE = 5
"""Steps from an ALU result to its use as an operand."""


def hazard(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """One random sequence within ``windows``; all of them must hold data, and none may run past its end."""
    kinds: list[Callable[[Pieces, Sequence[Windows]], list[Insn]]]
    kinds = [gemm_row, alu_chain, alu_row, micro_op_overwrites, loads_between, token_only, mixed]
    if "requant" in pieces.cfg.extensions:
        kinds += [requant_row, parameter_overwrites]
    if "depthwise" in pieces.cfg.extensions:
        kinds += [depthwise_row, after_depthwise]
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


# Extensions --------------------------------------------------------------------------------
def requant_row(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """Short REQ in a row on few accumulators of any bank, with other operations on them between."""
    rng = pieces.rng
    places = [_few(pieces, _any(pieces, windows)) for _ in range(pick(rng, 1, 2))]
    table = np.array([[w.acc.base, w.parameters(rng), 0] for w in places], dtype=np.int64)
    fetch, first, _ = pieces.load_uops(table, 0)
    insns = [fetch]
    for _ in range(pick(rng, 2, 6)):
        number = pick(rng, 0, len(places) - 1)
        place = places[number]
        loop = {"uop_bgn": first + number, "uop_end": first + number + 1, "iter_out": pick(rng, 1, 2)}
        loop |= {"iter_in": pick(rng, 1, place.acc.size), "dst_factor_in": 1}
        if chance(rng, 0.6):
            values = {"use_imm": int(chance(rng, 0.5)), "imm": place.parameters(rng)}
            insns.append(alu(pieces.cfg, AluOp.REQ, **values, **loop, **pieces.one_bank(place)))
        else:
            # What requantizing left is small: something to requantize again.
            op, imm = ((AluOp.MUL, pick(rng, -(1 << 15), 1 << 14)), (AluOp.SHR, -pick(rng, 0, 20)))[pick(rng, 0, 1)]
            insns.append(alu(pieces.cfg, op, use_imm=1, imm=imm, **loop, **pieces.one_bank(place)))
    return insns


def parameter_overwrites(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """LOAD REQ right behind and right before REQ that use the same parameters."""
    insns: list[Insn] = []
    for _ in range(pick(pieces.rng, 2, 4)):
        place = _any(pieces, windows)
        if chance(pieces.rng, 0.5):
            insns += requant_pair(pieces, _few(pieces, place) if chance(pieces.rng, 0.5) else place)
        insns.append(pieces.partial_load(Memory.REQ, place))
    return [*insns, *requant_pair(pieces, _any(pieces, windows))]


def depthwise_row(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """Many DEPTHWISE of one or two micro-ops in a row on the same accumulators, with GEMM between, with all resets."""
    cfg, rng = pieces.cfg, pieces.rng
    place = _any(pieces, windows)
    acc, inp, wgt = place.acc, place.inp, place.wgt
    last = max(1, acc.size - cfg.depthwise_outputs)
    base = acc.base + pick(rng, 0, min(2, last))
    table = np.array([[base, inp.base + n, wgt.base + min(n, wgt.size - 1)] for n in range(2)], dtype=np.int64)
    fetch, first, _ = pieces.load_uops(table, 0)
    insns = [fetch]
    for _ in range(pick(rng, 2, 6)):
        step = pick(rng, 0, 2)
        inner = pick(rng, 1, min(4, (acc.base + acc.size - cfg.depthwise_outputs - base) // max(1, step) + 1))
        outer = pick(rng, 1, 2)
        loop = {"uop_bgn": first, "uop_end": first + pick(rng, 1, 2), "iter_out": outer, "iter_in": inner}
        loop |= {"dst_factor_in": step, "src_factor_in": pick(rng, 0, min(2, (inp.size - cfg.depthwise_taps - 1) // 4))}
        loop |= {"reset": int(chance(rng, 0.3))} | pieces.one_bank(place)
        insns.append((gemm if chance(rng, 0.25) else depthwise)(cfg, **loop))
    return insns


def after_depthwise(pieces: Pieces, windows: Sequence[Windows]) -> list[Insn]:
    """DEPTHWISE followed by what uses its accumulators, its inputs' micro-ops or the other bank."""
    rng = pieces.rng
    place = _any(pieces, windows)
    insns = depthwise_pair(pieces, place)
    for _ in range(pick(rng, 1, 3)):
        again = place if chance(rng, 0.7) else _any(pieces, windows)
        match pick(rng, 0, 3):
            case 0:
                insns += pieces.gemm_pair(again)
            case 1:
                insns += pieces.alu_pair(again)
            case 2:
                insns += depthwise_pair(pieces, again)
            case _:
                insns.append(pieces.partial_load(Memory.ACC, again))
    return insns
