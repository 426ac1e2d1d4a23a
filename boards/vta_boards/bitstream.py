"""Bitstream files: reading the header of a ``.bit``, and the ``.bin`` that Linux' fpga_manager takes.

A ``.bit`` begins with a field of fixed contents, then fields by letter: a design, b part, c date, d time, each a
length of two bytes and a text ended by NUL; e a length of four bytes and the configuration words, big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vta_arch.errors import BoardError

from .board import ProcessingSystem

_MAGIC = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
_TEXTS = {ord("a"): "design", ord("b"): "part", ord("c"): "date", ord("d"): "time"}
_DATA = ord("e")
SYNC_WORD = bytes.fromhex("aa995566")
"""First word that a device's configuration logic acts upon."""
SYNC_WITHIN = 4096
"""Bytes of padding and bus width detection, at most, in front of the sync word."""
WORD_BYTES = 4
LIMIT = 256 << 20
"""Bytes of a bitstream, far beyond that of any of the boards' devices."""


@dataclass(frozen=True)
class Bitstream:
    """A bitstream: what its header says, and its configuration words, big-endian as in the file."""

    design: str
    part: str
    date: str
    time: str
    data: bytes

    def to_bin(self, system: ProcessingSystem) -> bytes:
        """The file for fpga_manager.

        The driver of a Zynq-7000 hands words to the device as the processor reads them, little-endian, so the bytes
        of each are swapped. The firmware of a Zynq UltraScale+ tells both orders apart by the bus width pattern; there
        they stay.
        """
        if system.family == "zynq7":
            return np.frombuffer(self.data, dtype=">u4").astype("<u4").tobytes()
        return self.data


def read_bit(content: bytes, what: str) -> Bitstream:
    """The bitstream in the bytes of a ``.bit``, called ``what`` in errors. Raises BoardError for anything else."""
    if len(content) > LIMIT:
        raise BoardError(f"{what}: {len(content)} bytes is too large for a bitstream (limit {LIMIT})")
    if not content.startswith(_MAGIC):
        raise BoardError(f"{what}: is no .bit file; it does not begin with the header that Vivado and openXC7 write")
    texts: dict[str, str] = {}
    at = len(_MAGIC)
    while True:
        letter, at = _take(content, at, 1, what)
        if letter[0] == _DATA:
            break
        name = _TEXTS.get(letter[0])
        if name is None or name in texts:
            raise BoardError(f"{what}: is a damaged .bit file: field {letter!r} at byte {at - 1}")
        texts[name], at = _text(content, at, what)
    missing = [name for name in _TEXTS.values() if name not in texts]
    if missing:
        raise BoardError(f"{what}: is a damaged .bit file: it has no field for the {missing[0]}")
    return Bitstream(data=_words(content, at, what), **texts)


def _text(content: bytes, at: int, what: str) -> tuple[str, int]:
    length, at = _take(content, at, 2, what)
    raw, at = _take(content, at, int.from_bytes(length, "big"), what)
    if not raw.endswith(b"\0") or not raw[:-1].isascii():
        raise BoardError(f"{what}: is a damaged .bit file: the text before byte {at} is not one")
    return raw[:-1].decode("ascii"), at


def _words(content: bytes, at: int, what: str) -> bytes:
    length, at = _take(content, at, 4, what)
    claimed, data = int.from_bytes(length, "big"), content[at:]
    if claimed != len(data):
        raise BoardError(f"{what}: is truncated or damaged: {len(data)} bytes of configuration, it says {claimed}")
    if claimed % WORD_BYTES:
        raise BoardError(f"{what}: is damaged: {claimed} bytes of configuration are not whole words")
    sync = data.find(SYNC_WORD, 0, SYNC_WITHIN)
    if sync < 0 or sync % WORD_BYTES:
        raise BoardError(f"{what}: is damaged: no sync word in the first {SYNC_WITHIN} bytes of configuration")
    return data


def _take(content: bytes, at: int, size: int, what: str) -> tuple[bytes, int]:
    piece = content[at : at + size]
    if len(piece) != size:
        raise BoardError(f"{what}: is a truncated .bit file: it ends at byte {len(content)}, in its header")
    return piece, at + size
