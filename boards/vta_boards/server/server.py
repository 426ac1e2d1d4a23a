"""The server: listens, starts a thread for each connection, and stops in order."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.errors import DataError

from .api import Api, Service
from .jobs import DeviceFactory
from .limits import Limits
from .options import LOOPBACK
from .run_queue import RunQueue
from .store import Store
from .tokens import Token
from .worker import Worker

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
_FULL_BODY = b'{"error": "the server has as many connections as it takes"}\n'


class Server:
    """Serves one device: opens it, listens, and answers from threads until it is closed.

    Args:
        factory: opens the device of a configuration, in a process of its own; see ``DeviceFactory``.
        config: the configuration of the device; programs for another one are refused.
        token: what every request must show.
        host: address to listen on.
        port: port to listen on; 0: any that is free.
        limits: what clients get at most.
        tls: certificate and key file, in PEM; None: without TLS.
        backend: the device's name in the status.
        log: given a line for each request.

    Raises DeviceError when the device cannot be opened, DataError when the address or the certificate is unusable.
    """

    def __init__(
        self,
        factory: DeviceFactory,
        config: VTAConfig,
        token: Token,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        limits: Limits | None = None,
        tls: tuple[Path, Path] | None = None,
        backend: str = "device",
        log: Callable[[str], None] | None = None,
    ) -> None:
        limits = limits or Limits()
        context = None if tls is None else _tls_context(*tls)
        self._folder = Path(tempfile.mkdtemp(prefix="vta-serve-"))
        self._worker = Worker(factory, config, self._folder, limits.memory)
        self._queue = RunQueue(limits.queue)
        service = Service(
            config, backend, token, limits, Store(self._folder, limits), self._queue, self._worker,
            loading=threading.Lock(), started=time.monotonic(),
        )  # fmt: skip
        handler = type("BoundApi", (Api,), {"service": service, "limits": limits, "log": staticmethod(log or _silent)})
        self._thread: threading.Thread | None = None
        try:
            self._listener = _Listener((host, port), handler, limits, context)
            self._worker.start()
        except BaseException:
            self.close()
            raise
        self.url = f"{'https' if tls else 'http'}://{_shown(host)}:{self._listener.server_address[1]}"
        """Where it answers."""

    def serve(self) -> None:
        """Answer until :meth:`close` is called from another thread, or an exception comes (as from Ctrl-C)."""
        self._listener.serve_forever(poll_interval=0.2)

    def start(self) -> None:
        """Answer from a thread of its own."""
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop: those who wait are told so, the run under way is ended, the device closed, the files removed."""
        self._queue.close()
        if self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
        self._worker.stop()
        if hasattr(self, "_listener"):
            self._listener.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Takes connections, up to a number; TLS begins in the connection's own thread, so that nobody holds up others."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[Api], limits: Limits, context: ssl.SSLContext | None
    ) -> None:
        self._limits, self._context = limits, context
        self._free = threading.BoundedSemaphore(limits.connections)
        try:
            self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
            super().__init__(address, handler)
        except (OSError, OverflowError, UnicodeError) as error:  # of the port's range, of a name that is none
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot listen on {_shown(address[0])}:{address[1]}: {reason}") from None

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(0)
            if self._context is None:
                request.send(_FULL + b"Content-Length: %d\r\n\r\n" % len(_FULL_BODY) + _FULL_BODY)
        request.close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            with contextlib.suppress(OSError):  # a handshake that fails, a client that is gone
                request.settimeout(self._limits.header_seconds)
                if self._context is not None:
                    request = self._context.wrap_socket(request, server_side=True)
                self.finish_request(request, client_address)
        finally:
            request.close()
            self._free.release()


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        shown = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(f"{certificate}, {key}: are no certificate and its key in PEM: {shown}") from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _silent(line: str) -> None:
    del line
