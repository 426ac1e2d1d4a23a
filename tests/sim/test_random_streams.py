"""Random streams: reproducible, race-free, and rich enough to be worth comparing."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from vta_arch.encoding import decode_stream
from vta_arch.isa import AluOp, Memory, Opcode, Unit, alu_ops, loadable, opcodes
from vta_arch.registers import Errors
from vta_sim import functional
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import Flavour, StreamCase, named_configs, random_config, random_stream
from vta_sim.token_queues import Scheduler

CONFIGS = named_configs()


def test_same_seed_same_stream() -> None:
    first, second = (random_stream(CONFIGS["tiny"], np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_configurations_cover_the_choices() -> None:
    configs = CONFIGS.values()
    assert {cfg.inp_width for cfg in configs} == {1, 2, 4, 8}
    assert {cfg.wgt_width for cfg in configs} == {1, 2, 4, 8}
    assert {cfg.acc_width for cfg in configs} == {16, 32}
    assert {cfg.axi_data_width for cfg in configs} >= {32, 64, 128, 512}
    assert any(cfg.batch > 1 for cfg in configs)
    assert any(cfg.block_in != cfg.block_out for cfg in configs)
    assert any(not cfg.inp_signed for cfg in configs)
    assert any(cfg.inp_elem_bits < cfg.axi_data_width for cfg in configs)
    rng = np.random.default_rng(0)
    assert len({random_config(rng).fingerprint() for _ in range(20)}) > 15


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("name", ["tiny", "int4", "batch2", "int1", "x-tiny", "x-batch2"])
def test_result_does_not_depend_on_the_units_speed(
    name: str, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever unit runs next, memory ends up the same."""
    cfg = CONFIGS[name]
    orders = np.random.default_rng(1)

    def run(scheduler: Scheduler) -> None:
        """One step of a random unit at a time, some units much more often than others."""
        weights = orders.dirichlet([0.4] * len(Unit))
        idle = 0
        while idle < 100:
            unit = Unit(int(orders.choice(len(Unit), p=weights))) if idle < 50 else Unit(idle % len(Unit))
            idle = 0 if scheduler._advance(unit) else idle + 1

    for seed in range(4):
        case = random_stream(cfg, np.random.default_rng(seed), flavour)
        _, expected = case.run(FunctionalDevice(cfg))
        with monkeypatch.context() as patch:
            patch.setattr(functional.Scheduler, "run", run)
            for _ in range(3):
                result, outputs = case.run(FunctionalDevice(cfg))
                assert not result.errors & Errors.DEADLOCK
                np.testing.assert_array_equal(outputs[0], expected[0], err_msg=case.description)


@pytest.mark.parametrize("name", ["tiny", "x-tiny", "x-acc16"])
def test_initialises_what_it_reads(name: str) -> None:
    """A used device gives the same result as a fresh one."""
    cfg = CONFIGS[name]
    used = FunctionalDevice(cfg)
    rng = np.random.default_rng(9)
    for flavour in itertools.islice(
        itertools.cycle((Flavour.SERIAL, Flavour.OVERLAPPED, Flavour.TOKENS, Flavour.HAZARDS)), 12
    ):
        case = random_stream(cfg, rng, flavour)
        _, fresh = case.run(FunctionalDevice(cfg))
        for address, size in case.outputs:
            used.write(address, bytes(size))
        _, again = case.run(used)
        np.testing.assert_array_equal(fresh[0], again[0])


def _features(case: StreamCase) -> Counter[str]:
    found: Counter[str] = Counter()
    for insn in decode_stream(case.config, case.instructions):
        if insn.opcode not in opcodes(case.config):
            found["unknown opcode"] += 1
            continue
        opcode = Opcode(insn.opcode)
        found[opcode.name] += 1
        if opcode is Opcode.LOAD:
            memory = insn["memory_type"]
            name = Memory(memory).name if memory in loadable(case.config) else "unknown"
            moved = insn["x_size"] * insn["y_size"] > 0
            found[f"load {name}" if moved else "token only"] += 1
            found["pad"] += any(insn[pad] for pad in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")) and moved
            found["narrow stride"] += insn["x_stride"] < insn["x_size"] and insn["y_size"] > 1
            found["pad value"] += insn.fields.get("pad", 0) and moved and insn["pad_value"] != 0
            found["odd uop base"] += memory == Memory.UOP and insn["sram_base"] % 2 == 1
        elif opcode is Opcode.STORE:
            kind = "requantized" if insn.fields.get("requant") else "plain"
            found[f"{kind} store"] += insn["x_size"] * insn["y_size"] > 0
            found["parameters by row"] += kind == "requantized" and insn["req_rows"] and insn["y_size"] > 1
        elif opcode in (Opcode.GEMM, Opcode.DEPTHWISE):
            found[f"{opcode.name} reset"] += insn["reset"]
            found[f"{opcode.name} overwrites"] += insn["reset"] and insn.fields.get("one_bank", 0)
            found[f"{opcode.name} one micro-op"] += insn["uop_end"] == insn["uop_bgn"] + 1
        elif opcode is Opcode.ALU:
            found[f"alu {AluOp(insn['alu_opcode']).name}"] += 1
            found["negative shift"] += insn["alu_opcode"] == AluOp.SHR and insn["use_imm"] and insn["imm"] < 0
        if opcode in (Opcode.GEMM, Opcode.DEPTHWISE, Opcode.ALU):
            found["no iteration"] += insn["iter_out"] * insn["iter_in"] == 0 or insn["uop_end"] <= insn["uop_bgn"]
    return found


@pytest.mark.parametrize("name", ["tiny", "x-tiny", "x-block16"])
def test_streams_use_the_whole_instruction_set(name: str) -> None:
    found: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    cfg = CONFIGS[name]
    for flavour in list(Flavour) * 12:
        case = random_stream(cfg, rng, flavour)
        found += _features(case)
        assert case.insn_count < 250
        bases = list(case.bases.values())
        assert len(set(bases)) == len(bases)
        assert all(base and base % 64 == 0 for base in bases)
        regions = sorted([*((a, a + len(d)) for a, d in case.memory), (case.insn_address, case.insn_address)])
        assert all(low[1] <= high[0] for low, high in itertools.pairwise(regions))
    wanted = {f"load {memory.name}" for memory in loadable(cfg)}
    wanted |= {f"alu {op.name}" for op in alu_ops(cfg)} | {opcode.name for opcode in opcodes(cfg)}
    wanted |= {"token only", "pad", "narrow stride", "odd uop base", "negative shift", "no iteration"}
    wanted |= {"unknown opcode", "load unknown", "plain store", "GEMM reset", "GEMM one micro-op"}
    if "requant" in cfg.extensions:
        wanted |= {"requantized store", "parameters by row"}
    if "pad_value" in cfg.extensions:
        wanted.add("pad value")
    if "depthwise" in cfg.extensions:
        wanted |= {f"DEPTHWISE {what}" for what in ("reset", "overwrites", "one micro-op")}
    assert not {name for name in wanted if found[name] < 3}
