"""Pieces of C source: names, comments, strings, numbers and arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import ProgramError

_LINE = 118
_LONGEST_TEXT = 192
_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}


def identifier(name: str) -> str:
    """``name`` in capitals, with _ for everything that C does not take in a name."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "UNNAMED"


def macro_names(names: Sequence[str]) -> list[str]:
    """A different identifier for each name; those that fall together get a number."""
    result: list[str] = []
    for name in names:
        wanted = plain = identifier(name)
        number = 2
        while wanted in result:
            wanted, number = f"{plain}_{number}", number + 1
        result.append(wanted)
    return result


def comment(text: str) -> str:
    """One line of comment; nothing in ``text`` can end it early."""
    return f"/* {in_comment(text)} */"


def in_comment(text: str) -> str:
    """``text`` for within a comment."""
    return plain(text).replace("*", "_").replace("\\", "_").replace("?", "_")


def string(text: str) -> str:
    """A string literal, printable characters only and no trigraph."""
    return '"' + plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?") + '"'


def plain(text: str) -> str:
    """``text`` without what does not print, cut where it is very long."""
    shown = "".join(character if " " <= character <= "~" else "_" for character in text)
    return shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "..."


def number(value: np.generic | float) -> str:
    """A literal that has exactly the value of a float32, or of an integer of 32 bits.

    Raises ProgramError for an infinity or a NaN, for which C99 without a library has no literal.
    """
    if np.asarray(value).dtype.kind != "f":
        return "(-2147483647 - 1)" if int(value) == -(2**31) else str(int(value))
    if not np.isfinite(value):
        raise ProgramError(f"a constant of the CPU's operators is {value}, which C has no literal for; cut it off")
    mantissa, _, exponent = float(np.float32(value)).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def numbers(values: Sequence[int]) -> str:
    """A compound literal of uint32_t for an argument; never empty, which C does not allow."""
    return f"(const uint32_t[]){{{', '.join(map(str, values)) or '0'}}}"


def wrapped(items: Sequence[str]) -> str:
    """Items with commas between, in lines of the usual width."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > _LINE:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def array(name: str, values: NDArray[np.generic]) -> str:
    """A constant array of float, int8_t, uint8_t or int32_t."""
    items = [number(value) for value in values.reshape(-1)]
    return f"static const {_TYPES[values.dtype.name]} {name}[{values.size}] = {{\n{wrapped(items)}\n}};\n"


def zeros(name: str, dtype: np.dtype[np.generic], size: int) -> str:
    """A constant array of zeros."""
    return f"static const {_TYPES[dtype.name]} {name}[{size}] = {{0}};\n"


def buffer(name: str, dtype: np.dtype[np.generic], size: int) -> str:
    """An array that a run writes."""
    return f"static {_TYPES[dtype.name]} {name}[{size}];\n"


def words(name: str, data: bytes) -> str:
    """Bytes as an array of little-endian words, filled up with zeros."""
    padded = data + bytes(-len(data) % 4)
    items = [f"{value:#x}" for value in np.frombuffer(padded, "<u4").tolist()]
    return f"static const uint32_t {name}[{len(items)}] = {{\n{wrapped(items)}\n}};\n"
