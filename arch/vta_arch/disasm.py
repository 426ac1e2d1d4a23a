"""Whole instruction streams as text and back, without losing a bit.

A line is what :mod:`vta_arch.assembly` makes of one instruction. An instruction that has bits set outside
its fields, which that text cannot say, is ``.word`` and its 32 hexadecimal digits, most significant first.
Blank lines, and what follows a ``#``, are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import assembly
from .config import VTAConfig
from .encoding import decode, encode
from .errors import IsaError
from .isa import INSN_BYTES

_WORD = re.compile(r"\.word\s+([0-9a-fA-F]{32})")


def disassemble(cfg: VTAConfig, data: bytes) -> list[str]:
    """One line for each instruction of a stream.

    Raises IsaError when its length is no multiple of 16 bytes.
    """
    if len(data) % INSN_BYTES:
        raise IsaError(f"instruction stream of {len(data)} bytes: must be a multiple of {INSN_BYTES}")
    return [_line(cfg, data[at : at + INSN_BYTES]) for at in range(0, len(data), INSN_BYTES)]


def _line(cfg: VTAConfig, raw: bytes) -> str:
    word = int.from_bytes(raw, "little")
    insn = decode(cfg, word)
    text = assembly.disassemble(cfg, insn)
    return text if encode(cfg, insn) == word else f".word {word:032x}  # {text}"


def assemble(cfg: VTAConfig, lines: Iterable[str]) -> bytes:
    """The stream of the lines of :func:`disassemble`, or of handwritten ones.

    Raises IsaError naming the line's number and what is wrong with it.
    """
    words = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            words.append(_word(cfg, text, number))
    return b"".join(word.to_bytes(INSN_BYTES, "little") for word in words)


def _word(cfg: VTAConfig, text: str, number: int) -> int:
    raw = _WORD.fullmatch(text)
    if raw:
        return int(raw[1], 16)
    if text.startswith(".word"):
        raise IsaError(f"line {number}: {text!r}: .word takes 32 hexadecimal digits")
    try:
        return encode(cfg, assembly.assemble(cfg, text))
    except IsaError as error:
        raise IsaError(f"line {number}: {error}") from None
