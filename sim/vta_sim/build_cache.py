"""The cache of generated Verilog and built simulators.

It is ``$VTA_CACHE_DIR``, else ``$XDG_CACHE_HOME/vta-codesign``, else ``~/.cache/vta-codesign``. An entry is kept
under a hash of all that it is made from; it is built in a temporary directory and renamed, and concurrent builders
of the same entry wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import vta_arch
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError

LOCK_SECONDS = 1800
LOCK_POLL_SECONDS = 0.2

Progress = Callable[[str, int, int], None]
"""Called with a stage, what is done of it and its total."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """A Progress that shows nothing."""


def cache_directory() -> Path:
    """Where built libraries are kept; it need not exist yet."""
    chosen = os.environ.get("VTA_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "vta-codesign"


def content_key(*parts: str) -> str:
    """A name for what is made from ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:32]


def cached_verilog(cfg: VTAConfig, progress: Progress | None, *, traced: bool = False) -> str:
    """The accelerator's Verilog, kept in the cache by configuration and hardware source.

    ``traced`` gives it the port of :mod:`vta_hw.observe`.

    Raises DeviceError when the cache cannot be written.
    """
    import vta_hw  # where the Verilog is in the cache, Amaranth is never loaded

    folders = [Path(str(module.__file__)).parent for module in (vta_hw, vta_arch)]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.glob("*.py"))]
    cache = cache_directory()
    kind = "traced" if traced else "verilog"
    kept = cache / f"{kind}-{content_key(cfg.fingerprint_hex, metadata.version('amaranth'), *sources)}.v"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    (progress or silent)("Verilog", 0, 1)
    text = _generate(cfg, traced)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
            part = Path(scratch) / kept.name
            part.write_text(text, encoding="utf-8")
            part.replace(kept)
    except OSError as error:
        raise _unwritable(cache, error) from None
    (progress or silent)("Verilog", 1, 1)
    return text


def _generate(cfg: VTAConfig, traced: bool) -> str:
    from vta_hw.observe import traced_verilog
    from vta_hw.verilog import generate_verilog

    return traced_verilog(cfg) if traced else generate_verilog(cfg)


def _unwritable(cache: Path, error: OSError) -> DeviceError:
    return DeviceError(
        f"{cache}: the simulator cannot be built there: {error.strerror or error}; set VTA_CACHE_DIR to a "
        "directory that can be written"
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on ``path``; it falls with the process that holds it."""
    deadline = time.monotonic() + LOCK_SECONDS
    with path.open("w", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DeviceError(f"{path}: another process has been building for {LOCK_SECONDS} s") from None
                time.sleep(LOCK_POLL_SECONDS)
        yield


@contextlib.contextmanager
def new_entry(name: str) -> Iterator[Path | None]:
    """Make the cache entry ``name``: yields a directory to fill, which takes its place when the block ends well.

    Yields None when the entry exists already. Raises DeviceError when the cache cannot be written.
    """
    cache = cache_directory()
    target = cache / name
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{name}.lock"):
            if target.is_dir():
                yield None
                return
            with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
                folder = Path(scratch) / "entry"
                folder.mkdir()
                yield folder
                folder.rename(target)
    except OSError as error:
        raise _unwritable(cache, error) from None
