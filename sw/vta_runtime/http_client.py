"""Requests to a server of docs/serve.md: one connection each, and whether a failure is worth another try."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from vta_arch.errors import DeviceError

from .protocol import DEFAULT_PORT

CONNECT_SECONDS = 10.0
_CHUNK = 1 << 18
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A server whose machine is gone is noticed within 25 s, however long a run may take."""
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Again(Exception):
    """This try failed, the next one may not: the server is busy, or was restarted."""


class Unreachable(Again):
    """Nobody answered, or the connection broke."""


class Rejected(DeviceError):
    """The server's refusal, with its status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Response:
    """An answer: header names in lower case."""

    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Speaks to ``url``, http://HOST[:PORT] or https://HOST[:PORT].

    Args:
        token: shown with every request.
        ca_file: certificates in PEM to trust instead of the system's.

    Raises DeviceError for a URL that is none, or a ``ca_file`` without certificates.
    """

    def __init__(self, url: str, token: str, ca_file: Path | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port or DEFAULT_PORT
        except ValueError as error:
            raise DeviceError(f"{url}: is no address of a server: {error}") from None
        plain = parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" == self.url
        if not plain or not self._host or parts.username is not None:
            raise DeviceError(f"{url}: is no address of a server; expected http://HOST:PORT or https://HOST:PORT")
        if not token.isascii() or not token.isprintable():
            raise DeviceError(f"{self.url}: the token holds characters that no token has")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._context = _trust(ca_file) if parts.scheme == "https" else None

    def request(
        self,
        method: str,
        path: str,
        body: Iterator[bytes] | None = None,
        size: int = 0,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float,
    ) -> Response:
        """One exchange; ``body`` gives ``size`` bytes, ``seconds`` may pass without a byte from the server.

        Raises Again for what another try may mend, Rejected for a refusal, DeviceError for a server that is not
        trusted or not found.
        """
        head = {**self._headers, **(headers or {})}
        if body is not None:
            head["Content-Length"] = str(size)
        connection = self._connection()
        try:
            return self._exchange(connection, method, path, body, head, seconds)
        except ssl.SSLCertVerificationError as error:
            raise DeviceError(
                f"{self.url}: its certificate is not trusted: {error.verify_message}; name the right one with --ca-file"
            ) from None
        except socket.gaierror as error:
            raise DeviceError(f"{self.url}: there is no such host: {error.strerror}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_line(error)) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=self._context)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Iterator[bytes] | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Response:
        connection.connect()
        connection.sock.settimeout(seconds)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        # A server that refuses answers before it has read the body, and then reads no more of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status < HTTPStatus.BAD_REQUEST:
            return Response({name.lower(): value for name, value in response.getheaders()}, answer)
        text = _error_of(answer) or f"{response.status} {response.reason}"
        if response.status in _TRY_AGAIN:
            raise Again(text)
        raise Rejected(response.status, f"{self.url}: {text}")


def chunks(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces, for :meth:`HttpClient.request`."""
    view = memoryview(data)
    for start in range(0, len(data), _CHUNK):
        yield bytes(view[start : start + _CHUNK])


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise DeviceError(f"{ca_file}: holds no certificates in PEM: {reason}") from None


def _error_of(body: bytes) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    text = value.get("error") if isinstance(value, dict) else None
    return " ".join(text.split()) if isinstance(text, str) else ""


def _line(error: BaseException) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
