"""Arrays in npy and npz files: reading them without trust, writing them.

Nothing is unpickled or evaluated, and what an array claims to need is checked before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from vta_arch.errors import DataError

NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"
_SUFFIX = ".npy"
_HEADER_LIMIT = 1 << 16
_NUMERIC = re.compile(r"'([<>|=]?[biuf]\d{1,2})'")
_HEADER = re.compile(
    r"\{\s*'descr':\s*(?P<descr>'[^']*'|\[.*\]|\(.*\)),\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\d\s,L]*)\),?\s*\}\s*",
    re.DOTALL,
)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError)


@contextlib.contextmanager
def opened(source: Path | IO[bytes], what: str) -> Iterator[zipfile.ZipFile]:
    """An npz file, called ``what`` in errors. Raises DataError when it cannot be read or is none."""
    try:
        archive = zipfile.ZipFile(source)
    except _ZIP_ERRORS:
        raise DataError(f"{what}: is not an npz file, or damaged (write one with numpy.savez)") from None
    except OSError as error:
        raise DataError(f"{what}: cannot be read: {error.strerror or error}") from None
    with archive:
        yield archive


def keys_of(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in an npz file."""
    return [name[: -len(_SUFFIX)] for name in archive.namelist() if name.endswith(_SUFFIX)]


def read_member(archive: zipfile.ZipFile, key: str, what: str, limit: int) -> NDArray[Any]:
    """The array ``key`` of an npz file, booleans, integers or floats of at most ``limit`` bytes. Raises DataError."""
    try:
        with archive.open(key + _SUFFIX) as member:
            return _read(member, archive.getinfo(key + _SUFFIX).file_size, f"{what}:{key}", limit)
    except KeyError:
        raise DataError(f"{what}: has no array {key!r}") from None
    except _ZIP_ERRORS as error:
        raise DataError(f"{what}: array {key!r} is damaged: {_line(error)}") from None


def read_text(archive: zipfile.ZipFile, name: str, what: str, limit: int) -> str:
    """A text member of at most ``limit`` bytes beside the arrays. Raises DataError."""
    try:
        if archive.getinfo(name).file_size > limit:
            raise DataError(f"{what}: member {name!r} is larger than {limit} bytes")
        return archive.read(name).decode()
    except KeyError:
        raise DataError(f"{what}: has no member {name!r}") from None
    except _ZIP_ERRORS as error:
        raise DataError(f"{what}: member {name!r} is damaged: {_line(error)}") from None


def read_arrays(source: Path | IO[bytes], names: Sequence[str], what: str, limit: int) -> dict[str, NDArray[Any]]:
    """The arrays called ``names``, and no others, of an npz file; of a npy file its array if there is one name.

    ``limit``: bytes of all of them together. Raises DataError, in which the file is called ``what``.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        size = file.seek(0, 2)
        file.seek(0)
        magic = file.read(len(NPY_MAGIC))
        file.seek(0)
        if magic == NPY_MAGIC:
            return {_only(names, what): _read_npy(file, size, what, limit)}
        archive = stack.enter_context(opened(file, what))
        return _read_all(archive, names, what, limit)


def write_arrays(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str] | None = None) -> None:
    """Write named arrays as an npz file, not compressed, and ``texts`` as further members."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, text in (texts or {}).items():
            archive.writestr(zipfile.ZipInfo(name), text)
        for name, value in arrays.items():
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                npy_format.write_array(member, np.asarray(value, order="C"), allow_pickle=False)


def _only(names: Sequence[str], what: str) -> str:
    if len(names) != 1:
        raise DataError(f"{what}: is one array, the network takes {', '.join(names)}: use an npz file with one each")
    return names[0]


def _read_npy(file: IO[bytes], size: int, what: str, limit: int) -> NDArray[Any]:
    try:
        return _read(file, size, what, limit)
    except ValueError as error:
        raise DataError(f"{what}: is damaged: {_line(error)}") from None


def _read_all(archive: zipfile.ZipFile, names: Sequence[str], what: str, limit: int) -> dict[str, NDArray[Any]]:
    members = archive.infolist()
    found = [member.filename for member in members]
    if len(set(found)) != len(found) or set(found) != {name + _SUFFIX for name in names}:
        shown = ", ".join(map(repr, found[:10])) or "nothing"
        raise DataError(f"{what}: holds {shown}; the network takes {', '.join(name + _SUFFIX for name in names)}")
    total = sum(member.file_size for member in members)
    if total > limit + _HEADER_LIMIT * len(members):
        raise DataError(f"{what}: {total} bytes unpacked are too large (limit {limit}); send fewer images at once")
    return {name: read_member(archive, name, what, limit) for name in names}


def _read(file: IO[bytes], file_size: int, what: str, limit: int) -> NDArray[Any]:
    """An array at a file's start. Raises ValueError where it is damaged, DataError for what is not wanted."""
    shape, fortran, dtype = _read_header(file, what)
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise DataError(f"{what}: {size} bytes is too large (limit {limit}); split the array")
    if size >= file_size:
        raise ValueError(f"shape {shape} of {dtype} needs {size} bytes, the file has {file_size}")
    data = file.read(size)
    if len(data) != size or file.read(1):
        raise ValueError(f"expected {size} bytes of elements, found another number")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type; read by a pattern, since numpy's own reader evaluates the text."""
    start = file.read(8)
    if start[:6] != NPY_MAGIC or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("it is no npy format 1.0 or 2.0")
    length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    if length > _HEADER_LIMIT:
        raise ValueError(f"its header of {length} bytes is longer than {_HEADER_LIMIT}")
    found = _HEADER.fullmatch(file.read(length).decode("latin-1"))
    if found is None:
        raise ValueError("its header is not one that numpy writes")
    numeric = _NUMERIC.fullmatch(found["descr"])
    if numeric is None:
        shown = " ".join(found["descr"].split())[:40]
        raise DataError(f"{what}: holds elements of type {shown}; expected integers or floats")
    extents = [part.strip().rstrip("L") for part in found["shape"].split(",")]
    if extents[-1] == "":
        extents.pop()
    if not all(part.isdecimal() and len(part) < 20 for part in extents):
        raise ValueError(f"its shape ({found['shape'][:80]}) is none")
    try:
        dtype = np.dtype(numeric[1])
    except TypeError:
        raise ValueError(f"its type {numeric[1]!r} is unknown") from None
    return tuple(map(int, extents)), found["fortran"] == "True", dtype


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
