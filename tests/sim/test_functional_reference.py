"""The functional device against a scalar interpreter that follows the instruction set's text."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.encoding import Insn, decode, decode_uops
from vta_arch.isa import Memory, Opcode
from vta_arch.registers import Errors, Status
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, StreamCase, named_configs, random_config, random_stream

CONFIGS = named_configs()


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Scalar:
    """Executes a stream in program order, one element at a time, on Python integers."""

    def __init__(self, case: StreamCase) -> None:
        self.cfg, self.case = case.config, case
        self.memory: dict[int, int] = {}
        for address, data in (*case.memory, (case.insn_address, case.instructions)):
            self.memory.update(zip(range(address, address + len(data)), data, strict=True))
        self.pads: dict[Memory, dict[int, int]] = {m: {} for m in (Memory.UOP, Memory.WGT, Memory.INP, Memory.ACC)}
        self.errors = Errors(0)

    def bits(self, memory: Memory) -> int:
        """Bits of a scratchpad row, held as one integer."""
        cfg = self.cfg
        return {
            Memory.UOP: 32,
            Memory.WGT: cfg.wgt_elem_bits,
            Memory.INP: cfg.inp_elem_bits,
            Memory.ACC: cfg.acc_elem_bits,
            Memory.ACC_8BIT: cfg.acc8_elem_bits,
            Memory.OUT: cfg.out_elem_bits,
        }[memory]

    def depth(self, memory: Memory) -> int:
        cfg = self.cfg
        return {Memory.UOP: cfg.uop_depth, Memory.WGT: cfg.wgt_depth, Memory.INP: cfg.inp_depth}.get(
            memory, cfg.acc_depth
        )

    def wrap(self, memory: Memory, index: int) -> int:
        if index >= self.depth(memory):
            self.errors |= Errors.INDEX_RANGE
        return index % self.depth(memory)

    def fetch(self, address: int, count: int) -> int:
        space = 1 << self.cfg.axi_addr_width
        return sum(self.memory.get((address + k) % space, 0) << (8 * k) for k in range(count))

    def lane(self, memory: Memory, row: int, lane: int, width: int) -> int:
        return (self.pads[memory].get(row, 0) >> (lane * width)) & ((1 << width) - 1)

    def run(self) -> None:
        for at in range(0, len(self.case.instructions), 16):
            insn = decode(self.cfg, int.from_bytes(self.case.instructions[at : at + 16], "little"))
            if insn.opcode == Opcode.FINISH:
                return
            if insn.opcode == Opcode.LOAD:
                self.load(insn)
            elif insn.opcode == Opcode.STORE:
                self.store(insn)
            elif insn.opcode in (Opcode.GEMM, Opcode.ALU):
                self.loops(insn)
            else:
                self.errors |= Errors.UNKNOWN_OPCODE
        raise AssertionError("no FINISH")

    def load(self, insn: Insn) -> None:
        if insn["memory_type"] in (4, 6, 7):
            self.errors |= Errors.UNKNOWN_MEMORY
            return
        if insn["x_size"] * insn["y_size"] == 0:
            return
        memory = Memory(insn["memory_type"])
        pad = Memory.ACC if memory == Memory.ACC_8BIT else memory
        size, at = self.bits(memory) // 8, insn["sram_base"]
        for y in range(-insn["y_pad_0"], insn["y_size"] + insn["y_pad_1"]):
            for x in range(-insn["x_pad_0"], insn["x_size"] + insn["x_pad_1"]):
                value = 0
                if 0 <= x < insn["x_size"] and 0 <= y < insn["y_size"]:
                    element = insn["dram_base"] + y * insn["x_stride"] + x
                    value = self.fetch(self.case.bases[pad] + element * size, size)
                if memory == Memory.ACC_8BIT:
                    lanes = [signed(value >> (8 * k), 8) for k in range(size)]
                    mask = (1 << self.cfg.acc_width) - 1
                    value = sum((lane & mask) << (k * self.cfg.acc_width) for k, lane in enumerate(lanes))
                self.pads[pad][self.wrap(pad, at)] = value
                at += 1

    def store(self, insn: Insn) -> None:
        cfg, at = self.cfg, insn["sram_base"]
        for y in range(insn["y_size"]):
            for x in range(insn["x_size"]):
                row = self.wrap(Memory.ACC, at)
                at += 1
                value = sum(
                    (self.lane(Memory.ACC, row, k, cfg.acc_width) & ((1 << cfg.inp_width) - 1)) << (k * cfg.inp_width)
                    for k in range(cfg.batch * cfg.block_out)
                )
                size = cfg.out_elem_bits // 8
                first = self.case.bases[Memory.OUT] + (insn["dram_base"] + y * insn["x_stride"] + x) * size
                for k in range(size):
                    self.memory[(first + k) % (1 << cfg.axi_addr_width)] = (value >> (8 * k)) & 255

    def loops(self, insn: Insn) -> None:
        run = self.gemm if insn.opcode == Opcode.GEMM else self.alu
        for outer in range(insn["iter_out"]):
            for inner in range(insn["iter_in"]):
                for number in range(insn["uop_bgn"], insn["uop_end"]):
                    word = self.pads[Memory.UOP].get(self.wrap(Memory.UOP, number), 0)
                    uop = decode_uops(self.cfg, np.array([word], dtype=np.uint32))[0]
                    fields = dict(zip(("dst", "src", "wgt"), (int(v) for v in uop), strict=True))
                    for name in fields:
                        if f"{name}_factor_in" in insn.fields:
                            fields[name] += outer * insn[f"{name}_factor_out"] + inner * insn[f"{name}_factor_in"]
                    run(insn, fields)

    def write_acc(self, row: int, lane: int, value: int) -> None:
        width = self.cfg.acc_width
        mask = ((1 << width) - 1) << (lane * width)
        old = self.pads[Memory.ACC].get(row, 0)
        self.pads[Memory.ACC][row] = (old & ~mask) | ((value << (lane * width)) & mask)

    def gemm(self, insn: Insn, index: dict[str, int]) -> None:
        cfg = self.cfg
        dst = self.wrap(Memory.ACC, index["dst"])
        if insn["reset"]:
            self.pads[Memory.ACC][dst] = 0
            if not insn.fields.get("one_bank"):
                return
        src, wgt = self.wrap(Memory.INP, index["src"]), self.wrap(Memory.WGT, index["wgt"])
        for b in range(cfg.batch):
            for o in range(cfg.block_out):
                total = self.lane(Memory.ACC, dst, b * cfg.block_out + o, cfg.acc_width)
                for i in range(cfg.block_in):
                    x = self.lane(Memory.INP, src, b * cfg.block_in + i, cfg.inp_width)
                    w = self.lane(Memory.WGT, wgt, o * cfg.block_in + i, cfg.wgt_width)
                    x = signed(x, cfg.inp_width) if cfg.inp_signed and cfg.inp_width > 1 else x
                    w = (1 if w else -1) if cfg.wgt_width == 1 else signed(w, cfg.wgt_width)
                    total += x * w
                self.write_acc(dst, b * cfg.block_out + o, total)

    def alu(self, insn: Insn, index: dict[str, int]) -> None:
        cfg, op = self.cfg, insn["alu_opcode"]
        dst = self.wrap(Memory.ACC, index["dst"])
        src = dst if insn["use_imm"] else self.wrap(Memory.ACC, index["src"])
        for lane in range(cfg.batch * cfg.block_out):
            a = signed(self.lane(Memory.ACC, dst, lane, cfg.acc_width), cfg.acc_width)
            b = signed(self.lane(Memory.ACC, src, lane, cfg.acc_width), cfg.acc_width)
            b = insn["imm"] if insn["use_imm"] else b
            if op == 3:
                b = min(max(b, 1 - cfg.acc_width), cfg.acc_width - 1)
                self.write_acc(dst, lane, a >> b if b >= 0 else a << -b)
            else:
                self.write_acc(dst, lane, (min(a, b), max(a, b), a + b, None, a * b)[op])


def compare(case: StreamCase) -> Errors:
    """Run on both, compare outputs and errors."""
    reference = Scalar(case)
    reference.run()
    result, outputs = case.run(FunctionalDevice(case.config))
    assert Errors(result.errors) == reference.errors, case.description
    assert result.status == Status.DONE | (Status.ERROR if result.errors else 0)
    assert result.cycles is None
    for (address, size), got in zip(case.outputs, outputs, strict=True):
        expected = np.array([reference.memory.get(address + k, 0) for k in range(size)], dtype=np.uint8)
        np.testing.assert_array_equal(got, expected, err_msg=case.description)
    return reference.errors


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_random_streams_agree(name: str, flavour: Flavour) -> None:
    cfg = CONFIGS[name]
    rng = np.random.default_rng([len(name), cfg.fingerprint(), list(Flavour).index(flavour)])
    count = 1 if cfg.macs_per_cycle > 100 else 4
    for _ in range(count):
        errors = compare(random_stream(cfg, rng, flavour))
        assert bool(errors) == (flavour is Flavour.FAULTS)


@pytest.mark.parametrize("seed", range(6))
def test_random_configurations_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare(random_stream(random_config(rng), rng))
