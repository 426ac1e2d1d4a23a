"""Requantization, padding with a value and depthwise steps: any fields, wrapped indices and loops of every shape."""

from __future__ import annotations

import numpy as np
import pytest
from scalar_interpreter import compare
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, depthwise, encode_stream, encode_uops, finish, load, store
from vta_arch.isa import INSN_BYTES, AluOp, Memory, memory_elem_bytes, sram_depth
from vta_arch.registers import Errors
from vta_sim.random_configs import named_configs
from vta_sim.random_streams import StreamCase
from vta_sim.requant_vectors import random_requant
from vta_sim.stream_pieces import chance, pick

CONFIGS = {name: cfg for name, cfg in named_configs().items() if name.startswith("x-")}
DATA = {Memory.UOP: 0x10000, Memory.INP: 0x20000, Memory.WGT: 0x30000, Memory.ACC: 0x40000, Memory.OUT: 0x80000}
PARAMS = 0x60000
CODE = 0x1000
Rng = np.random.Generator


class Fuzz:
    """A stream whose units take turns, of instructions with arbitrary indices."""

    def __init__(self, cfg: VTAConfig, seed: int, over: float) -> None:
        self.cfg, self.rng = cfg, np.random.default_rng([seed, cfg.fingerprint()])
        self.over = over
        self.rows = pick(self.rng, 1, 6)
        self.stored = 0
        limits = (cfg.acc_depth // 2, cfg.inp_depth // 2, cfg.wgt_depth // 2)
        self.uops = np.stack([self.rng.integers(0, limit, size=8) for limit in limits], axis=1)
        if chance(self.rng, 0.5):
            self.uops[:, 0] = np.sort(self.uops[:, 0] % 4)
        elif chance(self.rng, over):
            self.uops[:, 0] = self.rng.choice([cfg.acc_depth // 2 - 1, cfg.acc_depth - 1], size=8)

    def block(self, memory: Memory) -> Insn:
        """LOAD of a block anywhere, with pads."""
        rng, depth = self.rng, sram_depth(self.cfg, memory)
        pads = {name: pick(rng, 0, 2) for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")}
        value = {"pad": 1, "pad_value": pick(rng, -128, 127)} if chance(rng, 0.7) else {}
        base = depth - 3 if chance(rng, self.over) else pick(rng, 0, max(0, depth - 49))
        if memory is Memory.REQ:
            value |= {"dram_base": (PARAMS - DATA[Memory.ACC]) // memory_elem_bytes(self.cfg, memory)}
            base = pick(rng, 0, depth)
        shape = {"x_size": pick(rng, 1, 3), "y_size": pick(rng, 1, 3), "x_stride": pick(rng, 0, 4)}
        return load(self.cfg, memory, sram_base=base, **shape, **pads, **value)

    def loop(self, steps: int, most: dict[str, int]) -> dict[str, int]:
        rng = self.rng
        begin = pick(rng, 0, 7)
        values = {"uop_bgn": begin, "uop_end": pick(rng, begin, 8)}
        values |= {"iter_out": pick(rng, 0, steps), "iter_in": pick(rng, 1, steps)}
        for name, depth in most.items():
            for level in ("out", "in"):
                limit = (depth - 1 if chance(rng, self.over) else depth // 16) if chance(rng, 0.7) else 0
                values[f"{name}_factor_{level}"] = pick(rng, 0, max(0, limit))
        return values

    def compute(self) -> Insn:
        cfg, rng, kind = self.cfg, self.rng, self.rng.random()
        banked = {"one_bank": pick(rng, 0, 1)} if "overlap" in cfg.extensions else {}
        if "depthwise" in cfg.extensions and kind < 0.5:
            values = self.loop(3, {"dst": cfg.acc_depth, "src": cfg.inp_depth, "wgt": cfg.wgt_depth})
            values["reset"] = int(chance(rng, 0.4))
            if chance(rng, 0.3):
                values["dst_factor_in"] = 1
            return depthwise(cfg, **values, **banked)
        if kind < 0.85:
            values = {"use_imm": pick(rng, 0, 1), "imm": pick(rng, 0, cfg.req_depth - 1)}
            values["imm"] = int(rng.integers(-(1 << 15), 1 << 15)) if chance(rng, self.over) else values["imm"]
            return alu(
                cfg, AluOp.REQ, **values, **banked, **self.loop(3, {"dst": cfg.acc_depth, "src": 2 * cfg.req_depth})
            )
        return self.block((Memory.ACC, Memory.ACC_8BIT, Memory.REQ)[pick(rng, 0, 2)])

    def send(self) -> Insn:
        cfg, rng = self.cfg, self.rng
        x, y = pick(rng, 1, 5), pick(rng, 1, 4)
        base = cfg.acc_depth - 2 if chance(rng, self.over) else pick(rng, 0, cfg.acc_depth - x * y)
        index = pick(rng, 0, 65535) if chance(rng, self.over) else pick(rng, 0, cfg.req_depth - 1)
        fields = {"requant": int(chance(rng, 0.8)), "req_rows": pick(rng, 0, 1), "req_index": index}
        fields |= {
            "sram_base": base,
            "dram_base": self.stored,
            "x_size": x,
            "y_size": y,
            "x_stride": x + pick(rng, 0, 1),
        }
        self.stored += y * (x + 1)
        return store(cfg, **fields)

    def case(self) -> StreamCase:
        cfg, rng = self.cfg, self.rng
        insns = [load(cfg, Memory.UOP, x_size=8, y_size=1)]
        insns += [load(cfg, Memory.ACC, x_size=cfg.acc_depth, y_size=1)]
        where = (PARAMS - DATA[Memory.ACC]) // cfg.req_elem_bytes
        insns += [load(cfg, Memory.REQ, dram_base=where, x_size=cfg.req_depth, y_size=1, push_prev=1)]
        for memory in (Memory.INP, Memory.WGT):
            insns += [load(cfg, memory, x_size=sram_depth(cfg, memory), y_size=1, pop_next=int(memory is Memory.INP))]
        insns += [self.block(Memory.INP), self.block(Memory.WGT), load(cfg, Memory.INP, push_next=1)]
        insns += [load(cfg, Memory.UOP, pop_prev=1)]
        for _ in range(3):
            insns += [self.compute() for _ in range(pick(rng, 1, 4))] + [load(cfg, Memory.UOP, push_next=1)]
            insns += [store(cfg, pop_prev=1), self.send(), self.send(), store(cfg, push_prev=1)]
            insns += [load(cfg, Memory.UOP, pop_next=1)]
        insns += [load(cfg, Memory.UOP, push_next=1)]
        insns += [store(cfg, dram_base=self.stored, x_size=cfg.acc_depth, y_size=1, pop_prev=1), finish(cfg)]
        words = encode_stream(cfg, insns)
        total = (self.stored + cfg.acc_depth) * cfg.out_elem_bytes
        memory = [(DATA[Memory.UOP], encode_uops(cfg, self.uops).tobytes())]
        memory += [
            (DATA[m], rng.bytes(sram_depth(cfg, m) * memory_elem_bytes(cfg, m))) for m in (Memory.INP, Memory.WGT)
        ]
        acc = rng.bytes(cfg.acc_depth * cfg.acc_elem_bytes)
        params = random_requant(cfg, rng, cfg.req_depth + 16).pack()
        memory += [(DATA[Memory.ACC], acc), (PARAMS, params.tobytes())]
        return StreamCase(
            config=cfg,
            insn_address=CODE,
            instructions=words,
            memory=tuple(memory),
            bases=DATA,
            outputs=((DATA[Memory.OUT], total),),
            description=f"{len(words) // INSN_BYTES} instructions for {cfg.name}",
        )


@pytest.mark.parametrize("over", [0.0, 0.3])
@pytest.mark.parametrize("name", CONFIGS)
def test_any_fields(name: str, over: float) -> None:
    found = Errors(0)
    for seed in range(4):
        found |= compare(Fuzz(CONFIGS[name], seed, over).case())
    assert bool(found & Errors.INDEX_RANGE) or not over
