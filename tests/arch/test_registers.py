"""The register map as data."""

from __future__ import annotations

from vta_arch.registers import (
    BASE_MEMORIES,
    CONTROL_ADDRESS_BITS,
    ERROR_TEXT,
    OFFSETS,
    REGISTERS,
    Errors,
    Status,
    describe_errors,
)


def test_no_overlap() -> None:
    offsets = [register.offset for register in REGISTERS]
    assert len(set(offsets)) == len(offsets) == len(OFFSETS)
    assert all(offset % 4 == 0 and offset + 4 <= 1 << CONTROL_ADDRESS_BITS for offset in offsets)


def test_pairs_are_low_word_first_and_aligned() -> None:
    for name, offset in OFFSETS.items():
        if name.endswith("_LO"):
            assert offset % 8 == 0
            assert OFFSETS[f"{name[:-3]}_HI"] == offset + 4


def test_every_base_has_a_pair_and_every_error_a_text() -> None:
    assert all(f"{name}_LO" in OFFSETS for name in BASE_MEMORIES.values())
    assert set(ERROR_TEXT) == set(Errors)


def test_bits_do_not_overlap() -> None:
    for register in REGISTERS:
        if register.bits is not None:
            values = [bit.value for bit in register.bits]
            assert len(set(values)) == len(values)
            assert all(value & (value - 1) == 0 and value < 1 << 32 for value in values)


def test_describe_errors() -> None:
    assert describe_errors(0, Status.DONE) == ""
    text = describe_errors(Errors.DEADLOCK, Status.WAIT_LOAD | Status.WAIT_STORE)
    assert text.endswith("waiting: load, store")
    assert len(text.splitlines()) == 1
    assert "waiting" not in describe_errors(Errors.INDEX_RANGE, Status.WAIT_LOAD)
