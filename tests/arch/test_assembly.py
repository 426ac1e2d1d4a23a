"""Instructions as text and back."""

from __future__ import annotations

import numpy as np
import pytest
from vta_arch.assembly import assemble, disassemble
from vta_arch.encoding import decode
from vta_arch.errors import IsaError
from vta_arch.isa import insn_fields
from vta_arch.presets import load_preset

WORKED = {
    "00000001000100010000004000000000": "LOAD UOP dram_base=0x1000 y_size=1 x_size=1 x_stride=1",
    "00009002000008000020000800400144": "ALU MAX uop_bgn=1 uop_end=2 iter_out=1 iter_in=16 dst_factor_in=1 "
    "src_factor_in=1 use_imm push_next",
    "00000000000000000000000000000140": "LOAD INP push_next",
    "00000000000000000000000000000003": "FINISH",
}


@pytest.mark.parametrize("word", WORKED)
def test_worked_instructions(word: str) -> None:
    cfg = load_preset("classic")
    assert disassemble(cfg, decode(cfg, int(word, 16))) == WORKED[word]


@pytest.mark.parametrize("preset", ["classic", "tiny", "int4", "int1"])
def test_round_trip_of_random_words(preset: str) -> None:
    cfg = load_preset(preset)
    rng = np.random.default_rng(5)
    for _ in range(300):
        insn = decode(cfg, int.from_bytes(rng.bytes(16), "little"))
        assert assemble(cfg, disassemble(cfg, insn)) == insn


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is empty"),
        ("JUMP", "opcode 'JUMP' is unknown"),
        ("LOAD", "memory_type is missing"),
        ("LOAD TAPE", "memory_type 'TAPE' is unknown"),
        ("GEMM speed=3", "unknown field 'speed'"),
        ("GEMM iter_in=many", "'many' is no number"),
        ("GEMM iter_in=99999", "must be from 0 to"),
    ],
)
def test_mistakes_are_named(line: str, message: str) -> None:
    with pytest.raises(IsaError, match=message):
        assemble(load_preset("tiny"), line)


def test_every_field_can_be_written() -> None:
    cfg = load_preset("tiny")
    from vta_arch.isa import Opcode, opcodes

    for opcode in opcodes(cfg):
        for name, item in insn_fields(cfg, opcode).items():
            if name not in ("opcode", "memory_type", "alu_opcode"):
                kind = " 0" if opcode in (Opcode.LOAD, Opcode.STORE, Opcode.ALU) else ""
                assert assemble(cfg, f"{opcode.name}{kind} {name}={item.max}")[name] == item.max
