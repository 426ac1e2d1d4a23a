"""Arrays that a person names, as ``FILE.npz[:KEY]``: read without trust, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.files import atomic_output

from . import array_files
from .array_files import keys_of, opened, read_member

MAX_ARRAY_BYTES = 4 << 30
"""Largest array that is read: more than any data set that a simulator or a board gets through."""


def split_key(argument: str, default: str) -> tuple[Path, str]:
    """The file and the key of ``FILE.npz[:KEY]``; a file whose own name holds the colon comes first."""
    if ":" in argument and not Path(argument).exists():
        name, _, key = argument.rpartition(":")
        if name and key:
            return Path(name), key
    return Path(argument), default


def read_array(argument: str, default_key: str) -> NDArray[Any]:
    """The array that ``FILE.npz[:KEY]`` names, of a boolean, integer or float type and any shape.

    Raises DataError when the file is missing, is no npz, lacks the key (the keys that it has are
    named), or holds something other than a numeric array of at most MAX_ARRAY_BYTES.
    """
    path, key = split_key(argument, default_key)
    with opened(path, str(path)) as archive:
        keys = keys_of(archive)
        if key not in keys:
            has = f"it has {', '.join(map(repr, keys[:20]))}" if keys else "it holds no arrays"
            raise DataError(f"{path}: has no array {key!r}; {has} (choose one with {path}:KEY)")
        return read_member(archive, key, str(path), MAX_ARRAY_BYTES)


def read_inputs(argument: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a network's inputs from ``FILE.npz[:KEY]``: one input has the key x, several have their own names.

    Raises DataError.
    """
    if len(names) == 1:
        return {names[0]: read_array(argument, "x")}
    path, _ = split_key(argument, "x")
    return {name: read_array(f"{path}:{name}", name) for name in names}


def array_keys(path: Path) -> list[str]:
    """Names of the arrays in an npz file. Raises DataError."""
    with opened(path, str(path)) as archive:
        return keys_of(archive)


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an npz file, whole or not at all. Raises DataError."""
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        array_files.write_arrays(file, arrays)
