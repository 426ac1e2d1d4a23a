"""Instructions as bits: the worked stream, packing, and round trips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vta_arch.config import EXTENSIONS
from vta_arch.disasm import assemble, disassemble
from vta_arch.encoding import decode, decode_stream, decode_uops, encode, encode_stream, encode_uops, gemm, load, make
from vta_arch.errors import IsaError
from vta_arch.isa import AluOp, Memory, Opcode, Unit, insn_fields, opcodes, padded_load_fields, uop_fields
from vta_arch.presets import load_preset, preset_names

CLASSIC = load_preset("classic")
CONFIGS = {name: load_preset(name) for name in preset_names()}
CONFIGS["extended"] = replace(load_preset("tiny"), extensions=frozenset(EXTENSIONS))

# Digits most significant first; the opcode and the fields that are not 0.
WORKED: list[tuple[str, Opcode, dict[str, int]]] = [
    ("00000001000100010000004000000000", Opcode.LOAD, {"dram_base": 0x1000, "y_size": 1, "x_size": 1, "x_stride": 1}),
    (
        "000000000000080000200008002000a2",
        Opcode.GEMM,
        {"reset": 1, "uop_end": 1, "iter_out": 1, "iter_in": 16, "dst_factor_in": 1, "push_prev": 1},
    ),
    (
        "00000010001000010000000400000110",
        Opcode.LOAD,
        {"memory_type": 2, "dram_base": 0x100, "y_size": 1, "x_size": 16, "x_stride": 16, "pop_next": 1},
    ),
    (
        "000000010001000100000000800000c0",
        Opcode.LOAD,
        {"memory_type": 1, "dram_base": 0x20, "y_size": 1, "x_size": 1, "x_stride": 1, "push_next": 1},
    ),
    (
        "00000001000100010000004004000408",
        Opcode.LOAD,
        {"sram_base": 1, "dram_base": 0x1001, "y_size": 1, "x_size": 1, "x_stride": 1, "pop_prev": 1},
    ),
    (
        "00000002000008000020000800400102",
        Opcode.GEMM,
        {"uop_bgn": 1, "uop_end": 2, "iter_out": 1, "iter_in": 16, "dst_factor_in": 1, "src_factor_in": 1},
    ),
    (
        "00009002000008000020000800400144",
        Opcode.ALU,
        {
            "alu_opcode": 1,
            "use_imm": 1,
            "uop_bgn": 1,
            "uop_end": 2,
            "iter_out": 1,
            "iter_in": 16,
            "dst_factor_in": 1,
            "src_factor_in": 1,
            "push_next": 1,
        },
    ),
    (
        "00000010001000010000000c00000229",
        Opcode.STORE,
        {
            "memory_type": 4,
            "dram_base": 0x300,
            "y_size": 1,
            "x_size": 16,
            "x_stride": 16,
            "pop_prev": 1,
            "push_prev": 1,
        },
    ),
    ("00000000000000000000000000000140", Opcode.LOAD, {"memory_type": 2, "push_next": 1}),
    ("00000000000000000000000000000018", Opcode.LOAD, {"pop_prev": 1, "pop_next": 1}),
    ("00000000000000000000000000000003", Opcode.FINISH, {}),
]


@pytest.mark.parametrize(("digits", "opcode", "fields"), WORKED)
def test_worked_stream(digits: str, opcode: Opcode, fields: dict[str, int]) -> None:
    insn = decode(CLASSIC, int(digits, 16))
    assert insn.opcode == opcode
    assert {name: value for name, value in insn.fields.items() if value} == fields
    assert encode(CLASSIC, make(CLASSIC, opcode, **fields)) == int(digits, 16)


def test_units_of_the_worked_stream() -> None:
    units = [decode(CLASSIC, int(digits, 16)).unit for digits, _, _ in WORKED]
    load_unit, compute, store = Unit.LOAD, Unit.COMPUTE, Unit.STORE
    first = [compute, compute, load_unit, load_unit, compute, compute, compute, store]
    assert units == [*first, load_unit, compute, compute]


def test_second_group_moves_down_with_a_small_uop_memory() -> None:
    assert insn_fields(CLASSIC, Opcode.GEMM)["dst_factor_out"].low == 64
    tiny = insn_fields(load_preset("tiny"), Opcode.GEMM)
    assert tiny["dst_factor_out"].low == tiny["iter_in"].high + 1 < 64


@pytest.mark.parametrize("opcode", list(Opcode))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_fields_fit_words_and_do_not_overlap(name: str, opcode: Opcode) -> None:
    used = 0
    for item in insn_fields(CONFIGS[name], opcode).values():
        assert item.low // 64 == item.high // 64 < 2
        assert not used & (item.mask << item.low)
        used |= item.mask << item.low
    assert max(item.high for item in uop_fields(CONFIGS[name]).values()) < 32


@given(st.sampled_from(sorted(CONFIGS)), st.integers(0, (1 << 128) - 1))
def test_decode_encode_round_trip(name: str, word: int) -> None:
    cfg = CONFIGS[name]
    insn = decode(cfg, word)
    assert decode(cfg, encode(cfg, insn)) == insn


@given(st.sampled_from(sorted(CONFIGS)), st.data())
def test_encode_decode_round_trip(name: str, data: st.DataObject) -> None:
    cfg = CONFIGS[name]
    opcode = data.draw(st.sampled_from(opcodes(cfg)))
    formats = insn_fields(cfg, opcode)
    pad = opcode is Opcode.LOAD and "pad" in formats and data.draw(st.booleans())
    formats = padded_load_fields(cfg) if pad else formats
    fields = {n: data.draw(st.integers(f.min, f.max)) for n, f in formats.items() if n != "opcode"}
    if "pad" in formats:
        fields["pad"] = int(pad)
    insn = make(cfg, opcode, **fields)
    assert decode(cfg, encode(cfg, insn)) == insn


@given(st.sampled_from(sorted(CONFIGS)), st.lists(st.integers(0, (1 << 128) - 1), max_size=6))
def test_text_round_trip_keeps_every_bit(name: str, words: list[int]) -> None:
    cfg = CONFIGS[name]
    stream = b"".join(word.to_bytes(16, "little") for word in words)
    lines = disassemble(cfg, stream)
    assert len(lines) == len(words)
    assert assemble(cfg, lines) == stream


def test_text_of_the_worked_stream() -> None:
    stream = b"".join(int(digits, 16).to_bytes(16, "little") for digits, _, _ in WORKED)
    lines = disassemble(CLASSIC, stream)
    assert lines[0] == "LOAD UOP dram_base=0x1000 y_size=1 x_size=1 x_stride=1"
    assert not any(line.startswith(".word") for line in lines)
    assert assemble(CLASSIC, ["# a comment", "", *lines]) == stream


@pytest.mark.parametrize(
    ("line", "message"),
    [("JUMP", "line 2: opcode 'JUMP' is unknown"), (".word 12", "line 2: .* 32 hexadecimal digits"),
     ("GEMM speed=1", "line 2: .*unknown field 'speed'"), ("LOAD INP x_size=65536", "line 2: field x_size = 65536")],
)  # fmt: skip
def test_bad_text(line: str, message: str) -> None:
    with pytest.raises(IsaError, match=message):
        assemble(CLASSIC, ["FINISH", line])


def test_refusals() -> None:
    with pytest.raises(IsaError, match=r"LOAD.x_size = 65536: must be from 0 to 65535 in classic"):
        load(CLASSIC, Memory.INP, x_size=65536)
    with pytest.raises(IsaError, match="GEMM has no field 'imm'; it has pop_prev"):
        gemm(CLASSIC, imm=1)
    with pytest.raises(IsaError, match="must be a multiple of 16"):
        decode_stream(CLASSIC, bytes(17))
    with pytest.raises(IsaError, match=r"uop.wgt = 1024: must be from 0 to 1023"):
        encode_uops(CLASSIC, [(0, 0, 1024)])
    with pytest.raises(IsaError, match="opcode 7 is unknown"):
        _ = decode(CLASSIC, 7).unit


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_is_decoded_as_its_words_are(name: str) -> None:
    data = np.random.default_rng(1).bytes(16 * 500)
    words = [int.from_bytes(data[at : at + 16], "little") for at in range(0, len(data), 16)]
    assert decode_stream(CONFIGS[name], data) == [decode(CONFIGS[name], word) for word in words]
    assert decode_stream(CONFIGS[name], b"") == []


def test_stream_and_immediate_sign() -> None:
    insns = [make(CLASSIC, Opcode.ALU, alu_opcode=int(AluOp.SHR), use_imm=1, imm=imm) for imm in (-1, -32768, 32767)]
    assert decode_stream(CLASSIC, encode_stream(CLASSIC, insns)) == insns


@pytest.mark.parametrize("name", list(CONFIGS))
def test_micro_ops(name: str) -> None:
    cfg = CONFIGS[name]
    rng = np.random.default_rng(1)
    limits = [item.max + 1 for item in uop_fields(cfg).values()]
    table = np.stack([rng.integers(0, limit, size=50) for limit in limits], axis=1)
    np.testing.assert_array_equal(decode_uops(cfg, encode_uops(cfg, table)), table)
