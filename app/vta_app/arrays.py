"""Arrays in npz files: reading them without trust, writing them whole or not at all."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.files import atomic_output

MAX_ARRAY_BYTES = 4 << 30
"""Largest array that is read: more than any data set that a simulator gets through."""
_NUMERIC_KINDS = "biuf"
_SUFFIX = ".npy"
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError)


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
    with _opened(path) as archive:
        return _read_member(archive, path, key)


def array_keys(path: Path) -> list[str]:
    """Names of the arrays in an npz file. Raises DataError."""
    with _opened(path) as archive:
        return _keys(archive)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _ZIP_ERRORS:
        raise DataError(f"{path}: is not an npz file, or damaged (write one with numpy.savez)") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _keys(archive: zipfile.ZipFile) -> list[str]:
    return [name[: -len(_SUFFIX)] for name in archive.namelist() if name.endswith(_SUFFIX)]


def _read_member(archive: zipfile.ZipFile, path: Path, key: str) -> NDArray[Any]:
    keys = _keys(archive)
    if key not in keys:
        has = f"it has {', '.join(map(repr, keys[:20]))}" if keys else "it holds no arrays"
        raise DataError(f"{path}: has no array {key!r}; {has} (choose one with {path}:KEY)")
    try:
        with archive.open(key + _SUFFIX) as member:
            shape, fortran, dtype = _read_header(member)
            _check_header(f"{path}:{key}", shape, dtype, archive.getinfo(key + _SUFFIX).file_size)
            return _read_body(member, shape, fortran, dtype)
    except _ZIP_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: array {key!r} is damaged: {reason}") from None


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(member)
    if version == (1, 0):
        return npy_format.read_array_header_1_0(member)
    if version == (2, 0):
        return npy_format.read_array_header_2_0(member)
    raise ValueError(f"npy format {version} is not one of a numeric array")


def _check_header(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], file_size: int) -> None:
    if dtype.kind not in _NUMERIC_KINDS:
        raise DataError(f"{what}: holds elements of type {dtype}; expected integers or floats")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_ARRAY_BYTES:
        raise DataError(f"{what}: {size} bytes is too large (limit {MAX_ARRAY_BYTES}); split the array")
    if not 0 <= size < file_size:
        raise ValueError(f"shape {shape} of {dtype} needs {size} bytes, the file has {file_size}")


def _read_body(member: IO[bytes], shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(shape) * dtype.itemsize
    data = member.read(size)
    if len(data) != size or member.read(1):
        raise ValueError(f"expected {size} bytes of elements, found another number")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an npz file, whole or not at all. Raises DataError."""
    with (
        atomic_output(path) as temporary,
        temporary.open("wb") as file,
        zipfile.ZipFile(file, "w", allowZip64=True) as archive,
    ):
        for name, value in arrays.items():
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                npy_format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)
