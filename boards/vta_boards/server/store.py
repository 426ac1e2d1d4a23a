"""Programs and tensors on disk, in one folder with one budget."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from .limits import Limits
from .refusals import Refused, busy


@dataclass
class Stored:
    """A program that is kept; ``users`` are the requests that need it."""

    path: Path
    size: int
    about: Mapping[str, Any]
    users: int = 0


class Spool:
    """A file for the time of a request, and the bytes that are set aside for it."""

    def __init__(self, store: Store, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._store = store

    def settle(self) -> None:
        """Set no more aside than the file takes."""
        self._store.resize(self, self.path.stat().st_size)


class Store:
    """Files in ``folder``, never more than the limits say; programs that nobody uses make room, oldest use first."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._programs: OrderedDict[str, Stored] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def spool(self, size: int) -> Iterator[Spool]:
        """A file of up to ``size`` bytes, removed at the end of the block. Raises Refused: 503 without room for it."""
        with self._lock:
            self._make_room(size)
            self._used += size
            spool = Spool(self, self._folder / f"{next(self._numbers)}.part", size)
        try:
            yield spool
        finally:
            self.resize(spool, 0)
            spool.path.unlink(missing_ok=True)

    def resize(self, spool: Spool, size: int) -> None:
        """Set other than the first number of bytes aside."""
        with self._lock:
            self._used += size - spool.size
            spool.size = size

    def keep(self, path: Path, digest: str, about: Mapping[str, Any]) -> bool:
        """Keep a spooled program under its digest; whether it is new. Raises Refused (503) when there is no room."""
        with self._lock:
            if digest in self._programs:
                self._programs.move_to_end(digest)
                return False
            while len(self._programs) >= self._limits.programs:
                self._drop_one()
            kept = path.rename(self._folder / f"{digest}.vta")
            size = kept.stat().st_size
            self._programs[digest] = Stored(kept, size, about)
            self._used += size
            return True

    @contextlib.contextmanager
    def use(self, digest: str) -> Iterator[Stored]:
        """A program that stays while the block runs. Raises Refused (404) when it is not there."""
        with self._lock:
            stored = self._find(digest)
            stored.users += 1
            self._programs.move_to_end(digest)
        try:
            yield stored
        finally:
            with self._lock:
                stored.users -= 1

    def delete(self, digest: str) -> None:
        """Forget a program. Raises Refused: 404 when it is not there, 409 while requests need it."""
        with self._lock:
            stored = self._find(digest)
            if stored.users:
                raise Refused(HTTPStatus.CONFLICT, f"program {digest} is needed by {stored.users} requests")
            self._drop(digest)

    def listing(self) -> list[dict[str, Any]]:
        """What is kept, the program that goes first at the head."""
        with self._lock:
            return [{"program": digest, **stored.about} for digest, stored in self._programs.items()]

    def _find(self, digest: str) -> Stored:
        if digest not in self._programs:
            raise Refused(HTTPStatus.NOT_FOUND, f"program {digest} is not here; PUT it to /v1/programs")
        return self._programs[digest]

    def _make_room(self, size: int) -> None:
        if size > self._limits.store:
            text = f"{size} bytes are more than the server stores in all ({self._limits.store})"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        while self._used + size > self._limits.store:
            self._drop_one()

    def _drop_one(self) -> None:
        idle = next((digest for digest, stored in self._programs.items() if not stored.users), None)
        if idle is None:
            raise busy("the server's store is full of what other requests need; try again")
        self._drop(idle)

    def _drop(self, digest: str) -> None:
        stored = self._programs.pop(digest)
        self._used -= stored.size
        stored.path.unlink(missing_ok=True)
