"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import DataError


@contextlib.contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes the name ``path`` only when the block ends without an error.

    A device or pipe (``/dev/stdout``) cannot be replaced and is written directly. Raises DataError, in
    one line, when the folder is missing, not writable or full; other errors of the block pass through.
    Whatever fails, ``path`` keeps its old content and no temporary file stays behind.
    """
    target = Path(path)
    try:
        if _is_special(target):
            yield target
            return
        if target.is_dir():
            raise DataError(f"{target}: cannot be written: it is a folder; give a file name")
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target.resolve() if target.is_symlink() else target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from None


def require_writable(path: str | Path) -> None:
    """Raise DataError when ``path`` can be seen to be no place for a file: said before long work, not after it."""
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target}: cannot be written: it is a folder; give a file name")
    if not target.parent.is_dir():
        raise DataError(f"{target}: cannot be written: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK) and not (target.exists() and _is_special(target)):
        raise DataError(f"{target}: cannot be written: Permission denied in the folder {target.parent}")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all. Raises DataError."""
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all. Raises DataError."""
    write_bytes(path, text.encode())


def _flush_to_disk(path: Path) -> None:
    """A full or failing disk shows here, before the old file is replaced."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
