"""One request on a socket: its head and body within their time, an answer in JSON or from a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any

from .limits import Limits
from .refusals import Gone, Refused

JSON_TYPE, ARRAYS_TYPE = "application/json", "application/zip"
_CHUNK = 1 << 18
_LENGTH_DIGITS = 18
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1 << 22


class _Deadline(io.RawIOBase):
    """A socket's bytes until a moment that can be moved; then TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.end = time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client is too slow")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


@dataclass(frozen=True)
class Answer:
    """What goes back: JSON, or a file's bytes."""

    value: Mapping[str, Any] | Path
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class Connection(BaseHTTPRequestHandler):
    """Reads one request, answers it and closes.

    One request a connection: what a body that nobody read would leave behind is never taken for a request.
    """

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # of what has no version: its answer then has a head, too
    limits: Limits
    log: Callable[[str], None]

    def answer(self) -> contextlib.AbstractContextManager[Answer]:
        """The answer to the request, whose file stays to the end of the block. Raises Refused or Gone."""
        raise NotImplementedError

    # Around the request --------------------------------------------------------------------
    def setup(self) -> None:
        self.connection = self.request
        self._input = _Deadline(self.connection)
        self._input.end = time.monotonic() + self.limits.header_seconds
        self.rfile = io.BufferedReader(self._input)
        self.wfile = io.BytesIO()  # the head of an answer; send() passes it on
        self._expects = False
        self._unread = True

    def handle(self) -> None:
        """Everything that a client can do wrong ends here, and with its own connection."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            self.handle_one_request()
        with contextlib.suppress(OSError):
            self._linger()

    def finish(self) -> None:
        self.rfile.close()

    def handle_expect_100(self) -> bool:
        self._expects = True  # said when the body is wanted, not before
        return True

    def version_string(self) -> str:
        return "vta"

    def log_message(self, format: str, *args: Any) -> None:
        text = (format % args).encode("unicode_escape").decode()
        self.log(f"{self.address_string()} {text[:300]}")

    def serve(self) -> None:
        """Answer the request."""
        self.close_connection = True
        try:
            with self.answer() as answer:
                self._send(answer)
        except Gone:
            self.log_message("left the queue")
        except Refused as refused:
            self._send(Answer({"error": str(refused)}, refused.status, refused.headers))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._send(Answer({"error": "the server's disk is full"}, HTTPStatus.INSUFFICIENT_STORAGE))

    do_GET = do_PUT = do_POST = do_DELETE = serve

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A request that is none, as the parser found it."""
        del explain
        self.close_connection = True
        status = HTTPStatus(code)
        self._send(Answer({"error": " ".join((message or status.phrase).split())}, status))

    # The body ------------------------------------------------------------------------------
    def body_size(self) -> int:
        """Bytes of the body, before any is read. Raises Refused: 400, 411 or 413."""
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Transfer-Encoding is not supported; send a Content-Length")
        values = self.headers.get_all("Content-Length") or []
        if not values:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
        text = values[0].strip()
        if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS):
            raise Refused(HTTPStatus.BAD_REQUEST, f"Content-Length {', '.join(values)[:80]!r} is no number of bytes")
        size = int(text)
        if size > self.limits.body:
            text = f"a body of {size} bytes is too large (limit {self.limits.body})"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        return size

    def no_body(self) -> None:
        """Raise Refused (400) for a request that should have no body and has one."""
        if self.headers.get("Transfer-Encoding") is not None or self.headers.get("Content-Length", "0").strip() != "0":
            raise Refused(HTTPStatus.BAD_REQUEST, f"{self.command} takes no body")
        self._unread = False

    def receive(self, file: IO[bytes], size: int) -> str:
        """Read the body into a file; its SHA-256. Raises Refused: 400 when it ends early, 408 when it is too slow."""
        if self._expects:
            self.connection.settimeout(self.limits.header_seconds)
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._input.end = time.monotonic() + self.limits.transfer_seconds(size)
        digest, left = hashlib.sha256(), size
        while left:
            try:
                data = self.rfile.read1(min(left, _CHUNK))
            except TimeoutError:
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"{size - left} of {size} bytes came in time") from None
            if not data:
                raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {size - left} of {size} bytes")
            file.write(data)
            digest.update(data)
            left -= len(data)
        self._unread = False
        return digest.hexdigest()

    def present(self) -> bool:
        """Whether the client still holds its side of the connection open."""
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return not poll.poll(0)

    # The answer ----------------------------------------------------------------------------
    def _send(self, answer: Answer) -> None:
        with contextlib.ExitStack() as stack:
            if isinstance(answer.value, Path):
                content: IO[bytes] = stack.enter_context(answer.value.open("rb"))
                kind = ARRAYS_TYPE
            else:
                content, kind = io.BytesIO(json.dumps(answer.value).encode() + b"\n"), JSON_TYPE
            size = content.seek(0, 2)
            content.seek(0)
            self.wfile = io.BytesIO()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            for name, value in (("Content-Type", kind), ("Content-Length", str(size)), ("Connection", "close")):
                self.send_header(name, value)
            self.end_headers()
            self._send_all(self.wfile.getvalue(), content, time.monotonic() + self.limits.transfer_seconds(size))

    def _send_all(self, head: bytes, content: IO[bytes], end: float) -> None:
        for data in _parts(head, content):
            self.connection.settimeout(max(end - time.monotonic(), 0.001))
            self.connection.sendall(data)

    def _linger(self) -> None:
        """Say that the answer is over. What still comes is thrown away for a while: closing at once would reset the
        connection, and a client that is sending would lose the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        if not self._unread:
            return
        end, left = time.monotonic() + _LINGER_SECONDS, _LINGER_BYTES
        while left > 0 and (seconds := end - time.monotonic()) > 0:
            self.connection.settimeout(seconds)
            data = self.connection.recv(_CHUNK)
            if not data:
                return
            left -= len(data)


def _parts(head: bytes, content: IO[bytes]) -> Iterator[bytes]:
    yield head
    while data := content.read(_CHUNK):
        yield data
