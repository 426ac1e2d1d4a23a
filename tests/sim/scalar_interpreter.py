"""A scalar interpreter of streams that follows the instruction set's text, and the functional device against it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from vta_arch.encoding import Insn, decode, decode_uops
from vta_arch.isa import Memory, Opcode
from vta_arch.registers import Errors, Status
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import StreamCase


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
        filled = (Memory.UOP, Memory.WGT, Memory.INP, Memory.ACC, Memory.REQ)
        self.pads: dict[Memory, dict[int, int]] = {m: {} for m in filled}
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
            Memory.REQ: 128 * cfg.block_out,
        }[memory]

    def depth(self, memory: Memory) -> int:
        cfg = self.cfg
        return {
            Memory.UOP: cfg.uop_depth,
            Memory.WGT: cfg.wgt_depth,
            Memory.INP: cfg.inp_depth,
            Memory.REQ: 1 << cfg.log_req_depth,
        }.get(memory, cfg.acc_depth)

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
            elif insn.opcode == 5 and "depthwise" in self.cfg.extensions:
                self.depthwise(insn)
            else:
                self.errors |= Errors.UNKNOWN_OPCODE
        raise AssertionError("no FINISH")

    def load(self, insn: Insn) -> None:
        unknown = (4, 7) if "requant" in self.cfg.extensions else (4, 6, 7)
        if insn["memory_type"] in unknown:
            self.errors |= Errors.UNKNOWN_MEMORY
            return
        if insn["x_size"] * insn["y_size"] == 0:
            return
        memory = Memory(insn["memory_type"])
        pad = Memory.ACC if memory == Memory.ACC_8BIT else memory
        size, at = self.bits(memory) // 8, insn["sram_base"]
        base = self.case.bases[Memory.ACC if memory == Memory.REQ else pad]
        padding = self.padding(memory, insn.fields.get("pad_value", 0)) if insn.fields.get("pad") else 0
        for y in range(-insn["y_pad_0"], insn["y_size"] + insn["y_pad_1"]):
            for x in range(-insn["x_pad_0"], insn["x_size"] + insn["x_pad_1"]):
                value = padding
                if 0 <= x < insn["x_size"] and 0 <= y < insn["y_size"]:
                    element = insn["dram_base"] + y * insn["x_stride"] + x
                    value = self.fetch(base + element * size, size)
                if memory == Memory.ACC_8BIT and 0 <= x < insn["x_size"] and 0 <= y < insn["y_size"]:
                    lanes = [signed(value >> (8 * k), 8) for k in range(size)]
                    mask = (1 << self.cfg.acc_width) - 1
                    value = sum((lane & mask) << (k * self.cfg.acc_width) for k, lane in enumerate(lanes))
                self.pads[pad][self.wrap(pad, at)] = value
                at += 1

    def padding(self, memory: Memory, value: int) -> int:
        """A scratchpad row whose elements all have the low bits of ``value``."""
        cfg = self.cfg
        row = Memory.ACC if memory == Memory.ACC_8BIT else memory
        width = {Memory.INP: cfg.inp_width, Memory.WGT: cfg.wgt_width, Memory.ACC: cfg.acc_width}.get(row)
        if width is None:
            return 0
        return sum((value & ((1 << width) - 1)) << at for at in range(0, self.bits(row), width))

    def requantize(self, acc: int, index: int, lane: int) -> int:
        """One accumulator, with the parameters of its channel, by exact fractions."""
        row = self.pads[Memory.REQ].get(self.wrap(Memory.REQ, index), 0)
        word = row >> (128 * (lane % self.cfg.block_out))
        bias, multiplier, shift = signed(word, 32), word >> 32 & 0xFFFFFF, word >> 56 & 63
        exact = Fraction((acc + bias) * multiplier, 1 << shift)
        below = exact.numerator // exact.denominator
        rest = exact - below
        value = below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1))
        if word >> 62 & 1:
            half = 1 << (self.cfg.acc_width - 1)
            return sorted((-half, value, half - 1))[1]
        value += signed(word >> 64, 10)
        low, high = signed(word >> 74, 10), signed(word >> 84, 10)
        value = low if value < low else value
        return high if value > high else value

    def store_index(self, insn: Insn, y: int) -> int | None:
        """The parameters of a row of a STORE; None if it sends the accumulators themselves."""
        if not insn.fields.get("requant"):
            return None
        return insn["req_index"] + (y if insn["req_rows"] else 0)

    def store(self, insn: Insn) -> None:
        cfg, at = self.cfg, insn["sram_base"]
        for y in range(insn["y_size"]):
            for x in range(insn["x_size"]):
                row = self.wrap(Memory.ACC, at)
                at += 1
                value, index = 0, self.store_index(insn, y)
                for k in range(cfg.batch * cfg.block_out):
                    acc = signed(self.lane(Memory.ACC, row, k, cfg.acc_width), cfg.acc_width)
                    sent = acc if index is None else self.requantize(acc, index, k)
                    value |= (sent & ((1 << cfg.inp_width) - 1)) << (k * cfg.inp_width)
                size = cfg.out_elem_bits // 8
                first = self.case.bases[Memory.OUT] + (insn["dram_base"] + y * insn["x_stride"] + x) * size
                for k in range(size):
                    self.memory[(first + k) % (1 << cfg.axi_addr_width)] = (value >> (8 * k)) & 255

    def iterations(self, insn: Insn) -> Iterator[list[dict[str, int]]]:
        """For each iteration the indices of its micro-ops, not wrapped."""
        banks: set[int] = set()
        accumulators = ["dst"]
        if insn.opcode == Opcode.ALU and not insn["use_imm"] and insn["alu_opcode"] != 5:
            accumulators.append("src")
        for outer in range(insn["iter_out"]):
            for inner in range(insn["iter_in"]):
                found = []
                for number in range(insn["uop_bgn"], insn["uop_end"]):
                    word = self.pads[Memory.UOP].get(self.wrap(Memory.UOP, number), 0)
                    uop = decode_uops(self.cfg, np.array([word], dtype=np.uint32))[0]
                    fields = dict(zip(("dst", "src", "wgt"), (int(v) for v in uop), strict=True))
                    for name in fields:
                        if f"{name}_factor_in" in insn.fields:
                            fields[name] += outer * insn[f"{name}_factor_out"] + inner * insn[f"{name}_factor_in"]
                    found.append(fields)
                    half = self.cfg.acc_depth // 2
                    banks |= {fields[name] % self.cfg.acc_depth // half for name in accumulators}
                yield found
        if insn.fields.get("one_bank") and len(banks) > 1:
            self.errors |= Errors.ONE_BANK

    def loops(self, insn: Insn) -> None:
        run = self.gemm if insn.opcode == Opcode.GEMM else self.alu
        for steps in self.iterations(insn):
            for index in steps:
                run(insn, index)

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
                    total += self.inp(src, b, i) * self.wgt(wgt, o, i)
                self.write_acc(dst, b * cfg.block_out + o, total)

    def inp(self, row: int, b: int, i: int) -> int:
        cfg = self.cfg
        value = self.lane(Memory.INP, row, b * cfg.block_in + i, cfg.inp_width)
        return signed(value, cfg.inp_width) if cfg.inp_signed and cfg.inp_width > 1 else value

    def wgt(self, row: int, o: int, i: int) -> int:
        cfg = self.cfg
        value = self.lane(Memory.WGT, row, o * cfg.block_in + i, cfg.wgt_width)
        return (1 if value else -1) if cfg.wgt_width == 1 else signed(value, cfg.wgt_width)

    def depthwise(self, insn: Insn) -> None:
        cfg = self.cfg
        taps = min(4, cfg.block_in // 2)
        outputs = min(2, cfg.block_in // (2 * taps))
        writes_zero = insn["reset"] and not insn.fields.get("one_bank")
        for steps in self.iterations(insn):
            lanes = [(p, b, o) for p in range(outputs) for b in range(cfg.batch) for o in range(cfg.block_out)]
            total = dict.fromkeys(lanes, 0)
            dst = None
            for index in steps:
                dst = self.wrap(Memory.ACC, index["dst"])
                if writes_zero:
                    continue
                wgt = self.wrap(Memory.WGT, index["wgt"])
                for t in range(taps):
                    src = self.wrap(Memory.INP, index["src"] + t)
                    for p, b, o in lanes:
                        for c in (0, 1):
                            x = self.inp(src, b, o // 2 * 2 + c)
                            total[p, b, o] += x * self.wgt(wgt, o, (2 * p + c) * taps + t)
            if dst is not None:
                self.add_outputs(dst, total, keep=not insn["reset"])

    def add_outputs(self, dst: int, total: dict[tuple[int, int, int], int], *, keep: bool) -> None:
        """Sums by (output, batch row, channel) into neighbouring accumulators."""
        cfg = self.cfg
        half = cfg.acc_depth // 2
        for (p, b, o), value in total.items():
            row = dst + p
            if row // half != dst // half:
                self.errors |= Errors.INDEX_RANGE
                row -= half
            lane = b * cfg.block_out + o
            old = self.lane(Memory.ACC, row, lane, cfg.acc_width) if keep else 0
            self.write_acc(row, lane, old + value)

    def alu(self, insn: Insn, index: dict[str, int]) -> None:
        cfg, op = self.cfg, insn["alu_opcode"]
        dst = self.wrap(Memory.ACC, index["dst"])
        if op == 5:
            number = insn["imm"] % (1 << 16) if insn["use_imm"] else index["src"]
            for lane in range(cfg.batch * cfg.block_out):
                a = signed(self.lane(Memory.ACC, dst, lane, cfg.acc_width), cfg.acc_width)
                self.write_acc(dst, lane, self.requantize(a, number, lane))
            return
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
