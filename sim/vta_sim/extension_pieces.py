"""Random uses of the instructions of extensions: ALU operation REQ, and DEPTHWISE."""

from __future__ import annotations

from vta_arch.encoding import Insn, alu, depthwise
from vta_arch.isa import AluOp

from .stream_pieces import Pieces, Windows, chance, pick


def requant_pair(pieces: Pieces, windows: Windows) -> list[Insn]:
    """LOAD UOP, and one or two ALU operations REQ that use it, with and without immediate."""
    rng, acc, req = pieces.rng, windows.acc, windows.req
    table = pieces.table(
        [(acc.base, acc.base + acc.size // 2), (req.base, req.base + req.size // 2), (0, pieces.cfg.wgt_depth - 1)]
    )
    fetch, first, end = pieces.load_uops(table, windows.over)
    # An index past the end wraps into the other window, which holds data there as far as the window is large.
    room = {
        "dst": acc.size - 1 - acc.size // 2 + min(windows.over, acc.size // 2),
        "src": req.size - 1 - req.size // 2 + min(windows.over, req.size // 2),
    }
    insns = [fetch]
    for _ in range(pick(rng, 1, 2)):
        values = {"use_imm": int(chance(rng, 0.5)), "imm": windows.parameters(rng)}
        if not values["use_imm"]:
            values["imm"] = pick(rng, -(1 << 15), (1 << 15) - 1)
        values |= pieces.uop_range(first, end) | pieces.loops(room) | pieces.one_bank(windows)
        insns.append(alu(pieces.cfg, AluOp.REQ, **values))
    return insns


def depthwise_pair(pieces: Pieces, windows: Windows) -> list[Insn]:
    """LOAD UOP, and one or two DEPTHWISE that use it."""
    cfg, rng = pieces.cfg, pieces.rng
    # Taps and outputs lie behind the indices.
    behind = {"dst": cfg.depthwise_outputs - 1, "src": cfg.depthwise_taps - 1, "wgt": 0}
    parts = {"dst": windows.acc, "src": windows.inp, "wgt": windows.wgt}
    table = pieces.table([(w.base, w.base + (w.size - behind[name]) // 2) for name, w in parts.items()])
    fetch, first, end = pieces.load_uops(table, windows.over)
    room = {
        name: w.size - behind[name] - 1 - (w.size - behind[name]) // 2 + min(windows.over, w.size // 2)
        for name, w in parts.items()
    }
    insns = [fetch]
    for _ in range(pick(rng, 1, 2)):
        values = pieces.uop_range(first, end) | pieces.loops(room)
        if chance(rng, 0.4) and values["iter_in"]:
            # Rows of neighbouring outputs, whose last one the next row writes again where they are odd.
            values |= {"dst_factor_in": min(values["dst_factor_in"], cfg.depthwise_outputs)}
        if chance(rng, 0.3) and values["uop_end"] > values["uop_bgn"]:
            values["uop_end"] = values["uop_bgn"] + 1
        insns.append(depthwise(cfg, reset=int(chance(rng, 0.3)), **values, **pieces.one_bank(windows)))
    return insns
