"""The requests of docs/serve.md: who may do what, and in which order it is checked."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from vta_arch.config import VTAConfig
from vta_arch.errors import DataError, ProgramError, VTAError
from vta_arch.program import Program
from vta_runtime.array_files import NPY_MAGIC, ZIP_MAGIC
from vta_runtime.evaluators import Evaluator
from vta_runtime.protocol import PROGRAMS_PATH, PROTOCOL_VERSION, REQUEST_HEADER, REQUEST_NAME, STATUS_PATH

from .connection import Answer, Connection
from .jobs import check_sizes
from .limits import Limits
from .refusals import Refused, busy
from .run_queue import RunQueue, Ticket
from .store import Store
from .tokens import Token
from .worker import OutOfTime, RunAborted, Worker

_MEMBER_LIMIT = 20_000
_FIELD_LIMIT = 10_000
_RUN_FAILURES = {
    "data": HTTPStatus.BAD_REQUEST,
    "program": HTTPStatus.UNPROCESSABLE_ENTITY,
    "device": HTTPStatus.INTERNAL_SERVER_ERROR,
    "memory": HTTPStatus.INSUFFICIENT_STORAGE,
    "storage": HTTPStatus.INSUFFICIENT_STORAGE,
}


@dataclass(frozen=True)
class Service:
    """What the requests share."""

    config: VTAConfig
    backend: str
    token: Token
    limits: Limits
    store: Store
    queue: RunQueue
    worker: Worker
    loading: threading.Lock
    """Held while an upload is unpacked: one at a time bounds the memory."""
    started: float


class Api(Connection):
    """One request. ``service`` is set on a subclass for each server."""

    service: ClassVar[Service]

    @contextlib.contextmanager
    def answer(self) -> Iterator[Answer]:
        self.service.token.check(self.headers.get("Authorization"))
        try:
            url = urlsplit(self.path)
            self.query = parse_qs(url.query, keep_blank_values=True, max_num_fields=_FIELD_LIMIT)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the path is none: {error}") from None
        handlers = {method: handler for method, pattern, handler in _ROUTES if re.fullmatch(pattern, url.path)}
        if not handlers:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no {url.path[:200]!r}")
        if self.command not in handlers:
            allowed = ", ".join(handlers)
            text = f"{self.command} cannot be done here; {allowed} can"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, text, {"Allow": allowed})
        self.digest = next(iter(re.findall("[0-9a-f]{64}", url.path)), "")
        with handlers[self.command](self) as answer:
            yield answer

    # What can be asked ---------------------------------------------------------------------
    @contextlib.contextmanager
    def status(self) -> Iterator[Answer]:
        self.no_body()
        cfg, limits = self.service.config, self.limits
        yield Answer(
            {
                "protocol": PROTOCOL_VERSION,
                "backend": self.service.backend,
                "config": cfg.name,
                "fingerprint": cfg.fingerprint_hex,
                "capabilities": f"{cfg.capabilities:#x}",
                "up_seconds": round(time.monotonic() - self.service.started, 3),
                "programs": len(self.service.store.listing()),
                "limits": {"body": limits.body, "queue": limits.queue, "run_seconds": limits.run_seconds},
                **self.service.queue.snapshot(),
            }
        )

    @contextlib.contextmanager
    def programs(self) -> Iterator[Answer]:
        self.no_body()
        yield Answer({"programs": self.service.store.listing()})

    @contextlib.contextmanager
    def upload(self) -> Iterator[Answer]:
        size = self.body_size()
        with self.service.store.spool(size) as spool:
            with spool.path.open("wb") as file:
                digest = self.receive(file, size)
            about = self._inspect(spool.path)
            new = self.service.store.keep(spool.path, digest, about)
        yield Answer({"program": digest, **about}, HTTPStatus.CREATED if new else HTTPStatus.OK)

    @contextlib.contextmanager
    def delete(self) -> Iterator[Answer]:
        self.no_body()
        self.service.store.delete(self.digest)
        yield Answer({"deleted": self.digest})

    @contextlib.contextmanager
    def run(self) -> Iterator[Answer]:
        store, queue = self.service.store, self.service.queue
        ticket = Ticket(self._request_name(), self.digest)
        options, size = self._run_options(), self.body_size()
        with contextlib.ExitStack() as stack:
            stored = stack.enter_context(store.use(self.digest))
            queue.check_room()
            inputs = stack.enter_context(store.spool(size))
            with inputs.path.open("wb") as file:
                self.receive(file, size)
            _check_magic(inputs.path)
            with queue.turn(ticket, self.present):
                outputs = stack.enter_context(store.spool(self.limits.body))
                files = {"path": stored.path, "inputs": inputs.path, "outputs": outputs.path}
                self._do({"program": self.digest, "limit": self.limits.body, **options, **_texts(files)})
                outputs.settle()
            yield Answer(outputs.path, headers={REQUEST_HEADER: ticket.request})

    # How -----------------------------------------------------------------------------------
    def _do(self, job: dict[str, Any]) -> None:
        """Have a job done. Raises Refused for what goes wrong."""
        try:
            reply = self.service.worker.run(job, self.limits.run_seconds)
        except OutOfTime as error:
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, str(error)) from None
        except (RunAborted, VTAError) as error:
            stops = self.service.queue.closed
            raise busy("the server stops") if stops else Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
        if reply:
            raise Refused(_RUN_FAILURES[reply["kind"]], reply["error"])

    def _request_name(self) -> str:
        name = self.headers.get(REQUEST_HEADER) or secrets.token_hex(8)
        if not REQUEST_NAME.fullmatch(name):
            text = f"{REQUEST_HEADER} {name[:80]!r} is not {REQUEST_NAME.pattern}"
            raise Refused(HTTPStatus.BAD_REQUEST, text)
        return name

    def _run_options(self) -> dict[str, Any]:
        unknown = set(self.query) - {"check", "layer", "cpu"}
        if unknown:
            text = f"a run has no option {min(unknown)[:80]!r}; it has check, layer and cpu"
            raise Refused(HTTPStatus.BAD_REQUEST, text)
        check, cpu = self.query.get("check", ["0"])[-1], self.query.get("cpu", [""])[-1]
        if check not in ("0", "1") or cpu not in ("", *Evaluator):
            raise Refused(HTTPStatus.BAD_REQUEST, f"check is 0 or 1, cpu is one of {', '.join(Evaluator)}")
        return {"check": check == "1", "layers": self.query.get("layer", []), "cpu": cpu}

    def _inspect(self, path: Path) -> dict[str, Any]:
        """What a program that was uploaded is. Raises Refused: 415 for none, 409 for another configuration."""
        with self.service.loading:
            _check_members(path, self.limits.store)
            try:
                program = Program.load(path)
            except ProgramError as error:
                text = str(error).removeprefix(f"{path}: ")
                raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body: {text}") from None
            except MemoryError:
                raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, "not enough memory to read the program") from None
            try:
                program.require(self.service.config)
            except ProgramError as error:
                raise Refused(HTTPStatus.CONFLICT, str(error)) from None
            try:
                check_sizes(program, self.limits.body)
            except DataError as error:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
        return {
            "name": program.name,
            "fingerprint": program.config.fingerprint_hex,
            "batch": program.batch,
            "inputs": {name: list(program.tensors[name].shape) for name in program.inputs},
            "outputs": {name: list(program.tensors[name].shape) for name in program.outputs},
        }


_PROGRAM = f"{PROGRAMS_PATH}/[0-9a-f]{{64}}"
_ROUTES: list[tuple[str, str, Callable[[Api], AbstractContextManager[Answer]]]] = [
    ("GET", STATUS_PATH, Api.status),
    ("GET", PROGRAMS_PATH, Api.programs),
    ("PUT", PROGRAMS_PATH, Api.upload),
    ("DELETE", _PROGRAM, Api.delete),
    ("POST", f"{_PROGRAM}/run", Api.run),
]
"""Method, path and what answers."""


def _texts(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _check_magic(path: Path) -> None:
    """Raise Refused (415) unless a body begins as npy or npz files do."""
    with path.open("rb") as file:
        start = file.read(len(NPY_MAGIC))
    if start != NPY_MAGIC and not start.startswith(ZIP_MAGIC):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is neither a npy nor an npz file")


def _check_members(path: Path, limit: int) -> None:
    """Raise Refused (413) for a zip file of too many members or of more than ``limit`` bytes unpacked."""
    signature = b"PK\x01\x02"
    with path.open("rb") as file:
        # Counted before zipfile makes an object of each: the number in the file's end record may be a lie.
        count = sum(part.count(signature) for part in iter(lambda: file.read(1 << 20), b""))
    if count > _MEMBER_LIMIT:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {_MEMBER_LIMIT} members")
    with contextlib.suppress(zipfile.BadZipFile, NotImplementedError, ValueError), zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
        if total > limit:
            text = f"the program of {total} bytes unpacked is too large (limit {limit})"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
