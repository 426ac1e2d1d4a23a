"""The whole accelerator with requantization against the functional simulator: streams that mix it with all else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from vta_arch.config import VTAConfig
from vta_arch.encoding import Insn, alu, encode_stream, encode_uops, finish, load, store
from vta_arch.isa import AluOp, Memory
from vta_arch.registers import Errors
from vta_runtime.device import Device
from vta_sim.functional import FunctionalDevice
from vta_sim.random_configs import named_configs
from vta_sim.requant_vectors import random_requant
from vta_sim.rtl import MemoryModel, RtlDevice

MAX_CYCLES = 1_000_000
INSNS, UOPS, DATA, PARAMS, OUT = 0x1000, 0x8000, 0x10000, 0x40000, 0x80000
BASES = {Memory.UOP: UOPS, Memory.INP: DATA, Memory.WGT: DATA, Memory.ACC: DATA, Memory.OUT: OUT}
TABLE = 12
"""Micro-ops."""
STREAMS = 12
MEMORIES = [MemoryModel(), MemoryModel(latency=3, backpressure=0.5, seed=1)]


def configs() -> dict[str, VTAConfig]:
    """One part and several parts a vector, rows that share channels."""
    named = named_configs()
    return {name: named[name] for name in ("tiny", "x-batch2", "x-acc16")}


class Stream:
    """Instructions of compute and store in turns, each side as long as it likes."""

    def __init__(self, cfg: VTAConfig, rng: np.random.Generator) -> None:
        self.cfg, self.rng, self.sent = cfg, rng, 0
        self.uops = np.stack(
            [
                rng.integers(0, cfg.acc_depth // 2, TABLE),
                rng.integers(0, min(cfg.req_depth, cfg.acc_depth), TABLE),
                np.zeros(TABLE, np.int64),
            ],
            axis=1,
        )
        self.first_params = (PARAMS - DATA) // cfg.req_elem_bytes

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def loop(self) -> dict[str, int]:
        begin = self.pick(0, TABLE - 1)
        loop = {"uop_bgn": begin, "uop_end": self.pick(begin, TABLE), "iter_out": self.pick(1, 3)}
        loop |= {"iter_in": self.pick(1, 4), "dst_factor_out": self.pick(0, 9), "dst_factor_in": self.pick(0, 2)}
        return loop

    def declared(self) -> dict[str, int]:
        return {"one_bank": self.pick(0, 1)} if "overlap" in self.cfg.extensions else {}

    def requantize(self, *, moves: int = 1) -> Insn:
        """Of the accumulators' first half; the tensor form's indices may be those of the other half."""
        imm = self.pick(-(1 << 15), (1 << 15) - 1) if self.rng.random() < 0.1 else self.pick(0, self.cfg.req_depth - 1)
        fields = self.loop() | {"dst_factor_out": 0, "src_factor_in": self.pick(0, 1)} | self.declared()
        if not moves or self.rng.random() < 0.5:
            fields |= {"dst_factor_in": 0, "iter_in": self.pick(1, 9)}
        if fields["dst_factor_in"]:
            fields.pop("one_bank", None)
        return alu(self.cfg, AluOp.REQ, use_imm=self.pick(0, 1), imm=imm, **fields)

    def plain(self) -> Insn:
        op = (AluOp.ADD, AluOp.MAX, AluOp.MUL)[self.pick(0, 2)]
        return alu(self.cfg, op, use_imm=1, imm=self.pick(-99, 99), **self.loop())

    def fill(self, memory: Memory) -> Insn:
        """LOAD with padding, of parameters also past the end."""
        pads = {name: self.pick(0, 1) for name in ("x_pad_0", "x_pad_1", "y_pad_0", "y_pad_1")}
        shape = {"x_size": self.pick(1, 3), "y_size": self.pick(1, 2), "x_stride": self.pick(0, 4)}
        first = self.first_params if memory is Memory.REQ else 0
        depth = self.cfg.req_depth if memory is Memory.REQ else self.cfg.acc_depth - 24
        return load(self.cfg, memory, sram_base=self.pick(0, depth - 1), dram_base=first, **shape, **pads)

    def compute(self) -> list[Insn]:
        kinds = [self.requantize, self.requantize, self.plain, lambda: self.fill(Memory.ACC)]
        kinds += [lambda: self.fill(Memory.REQ), lambda: self.fill(Memory.ACC_8BIT)]
        return [kinds[self.pick(0, len(kinds) - 1)]() for _ in range(self.pick(1, 6))]

    def send(self, *, first: int = 0) -> Insn:
        columns, rows = self.pick(1, 9), self.pick(1, 3)
        index = self.pick(0, 65535) if self.rng.random() < 0.1 else self.pick(0, self.cfg.req_depth - 1)
        fields = {"requant": self.pick(0, 1), "req_rows": self.pick(0, 1), "req_index": index}
        base = self.pick(first, self.cfg.acc_depth - columns * rows)
        shape = {"sram_base": base, "dram_base": self.sent, "x_size": columns, "y_size": rows, "x_stride": columns + 1}
        self.sent += rows * (columns + 1)
        return store(self.cfg, **shape, **fields)

    def dump(self) -> list[Insn]:
        """Every bit of every accumulator."""
        cfg = self.cfg
        insns: list[Insn] = []
        shift = {"use_imm": 1, "imm": min(8, cfg.inp_width), "uop_end": 1, "iter_out": 1, "dst_factor_in": 1}
        insns.append(load(cfg, Memory.UOP, sram_base=0, dram_base=TABLE, y_size=1, x_size=1))
        for _ in range(cfg.acc_width // cfg.inp_width):
            insns.append(alu(cfg, AluOp.ADD, use_imm=1, push_next=1))
            insns.append(store(cfg, dram_base=self.sent, y_size=1, x_size=cfg.acc_depth, pop_prev=1, push_prev=1))
            insns.append(alu(cfg, AluOp.SHR, iter_in=cfg.acc_depth, pop_next=1, **shift))
            self.sent += cfg.acc_depth
        return insns

    def insns(self) -> list[Insn]:
        cfg = self.cfg
        found = [
            load(cfg, Memory.UOP, y_size=1, x_size=TABLE),
            load(cfg, Memory.ACC, y_size=1, x_size=cfg.acc_depth),
            load(cfg, Memory.REQ, y_size=1, x_size=cfg.req_depth, dram_base=self.first_params),
        ]
        for _ in range(self.pick(1, 3)):
            found += [*self.compute(), load(cfg, Memory.UOP, push_next=1), store(cfg, pop_prev=1)]
            beside = self.rng.random() < 0.5
            found += [self.send(first=cfg.acc_depth // 2 if beside else 0) for _ in range(self.pick(1, 4))]
            # The store unit has the second half to itself: both want the requantizer at the same time.
            found += [self.requantize(moves=0) for _ in range(4 * beside)]
            found += [store(cfg, push_prev=1), load(cfg, Memory.UOP, pop_next=1)]
        return [*found, *self.dump(), finish(cfg)]


def run(device: Device, insns: list[Insn], size: int) -> tuple[Errors, int, bytes]:
    device.write(OUT, bytes(size))
    device.write(INSNS, encode_stream(device.config, insns))
    result = device.launch(INSNS, len(insns), BASES)
    return result.errors, int(result.status), device.read(OUT, size).tobytes()


@pytest.mark.parametrize("name", configs())
def test_random_streams_agree(name: str) -> None:
    cfg = configs()[name]
    for part, memory in enumerate(MEMORIES):
        reference = FunctionalDevice(cfg)
        with RtlDevice(cfg, memory, max_cycles=MAX_CYCLES) as rtl:
            for index in range(STREAMS):
                rng = np.random.default_rng([part, index])
                stream = Stream(cfg, rng)
                insns = stream.insns()
                uops = encode_uops(cfg, [*map(tuple, stream.uops.tolist()), (0, 0, 0)])
                params = random_requant(cfg, rng, cfg.req_depth + 8).pack().tobytes()
                for device in (rtl, reference):
                    device.write(UOPS, uops.tobytes())
                    device.write(DATA, np.random.default_rng(index).bytes(cfg.acc_depth * cfg.acc_elem_bytes))
                    device.write(PARAMS, params)
                size = stream.sent * cfg.out_elem_bytes
                assert run(rtl, insns, size) == run(reference, insns, size), (part, index)


def test_unknown_without_the_extension() -> None:
    """Memory type and operation are unknown, and the bits of STORE mean nothing."""
    cfg = named_configs()["int4"]
    extended = replace(cfg, extensions=cfg.extensions | {"requant"})
    cases = {
        Errors.UNKNOWN_MEMORY: load(extended, Memory.REQ, y_size=1, x_size=1),
        Errors.UNKNOWN_OPCODE: alu(extended, AluOp.REQ, uop_end=1, iter_out=1, iter_in=1),
        Errors(0): store(extended, requant=1, req_index=999, x_size=4, y_size=1),
    }
    with RtlDevice(cfg, max_cycles=MAX_CYCLES) as device:
        for errors, insn in cases.items():
            words = encode_stream(extended, [insn, finish(extended)])
            device.write(INSNS, words)
            assert device.launch(INSNS, 2, BASES).errors == errors
