"""Reading .bit files, hostile ones included, and the two byte orders of the .bin."""

from __future__ import annotations

import numpy as np
import pytest
from build_folder import bit_file, field, words
from vta_arch.errors import BoardError
from vta_boards.bitstream import read_bit
from vta_boards.board import ZYNQ7, ZYNQMP


def test_header_and_words() -> None:
    found = read_bit(bit_file(), "x.bit")
    assert (found.part, found.date, found.time) == ("7z020clg400", "2026/11/28", "12:00:00")
    assert found.design.startswith("vta_wrapper;")
    assert found.data == words()


def test_bytes_are_swapped_in_words_for_zynq_7000_only() -> None:
    found = read_bit(bit_file(), "x.bit")
    swapped = found.to_bin(ZYNQ7)
    assert swapped[32 + 16 : 32 + 20] == bytes.fromhex("665599aa")
    assert swapped == b"".join(found.data[at : at + 4][::-1] for at in range(0, len(found.data), 4))
    assert found.to_bin(ZYNQMP) == found.data


GOOD = bit_file()
CASES = {
    "empty": (b"", "no .bit file"),
    "a bin": (words(), "no .bit file"),
    "another letter": (GOOD.replace(field("c", "2026/11/28"), field("z", "2026/11/28")), "field b'z'"),
    "a field twice": (GOOD.replace(field("c", "2026/11/28"), field("b", "7z020clg400")), "field b'b'"),
    "a field less": (GOOD.replace(field("c", "2026/11/28"), b""), "no field for the date"),
    "no end of text": (GOOD.replace(b"2026/11/28\0", b"2026/11/28!"), "is not one"),
    "no ASCII": (GOOD.replace(b"2026/11/28\0", b"2026/11/2\xff\0"), "is not one"),
    "a long field": (GOOD.replace(b"c\x00\x0b", b"c\xff\xff"), "truncated|field"),
    "a word less": (GOOD[:-4], "truncated or damaged"),
    "a byte more": (GOOD + b"\0", "truncated or damaged"),
    "half a word": (bit_file(data=words() + b"\0"), "not whole words"),
    "no sync word": (bit_file(data=b"\xff" * 64), "no sync word"),
}


@pytest.mark.parametrize("case", CASES)
def test_other_files_are_refused(case: str) -> None:
    content, message = CASES[case]
    with pytest.raises(BoardError, match=message) as caught:
        read_bit(content, "x.bit")
    assert str(caught.value).startswith("x.bit: ")


def test_every_truncation_and_random_damage_is_refused_or_read() -> None:
    for size in range(len(GOOD)):
        with pytest.raises(BoardError):
            read_bit(GOOD[:size], "x.bit")
    rng = np.random.default_rng(0)
    for _ in range(500):
        data = bytearray(GOOD)
        for at in rng.integers(0, 120, 3):
            data[at] = rng.integers(256)
        try:
            size = len(read_bit(bytes(data), "x.bit").data)
        except BoardError:
            continue
        assert size == len(words())
