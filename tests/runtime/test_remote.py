"""The client against servers that are none, or wrong: one line each, in time."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from app_networks import images
from serve_bench import program
from vta_arch.errors import DeviceError
from vta_runtime import remote as remote_module
from vta_runtime.array_files import write_arrays
from vta_runtime.remote import Remote

LIMITS = {"body": 1 << 20, "queue": 1, "run_seconds": 1}


@contextlib.contextmanager
def _answering(*answers: bytes) -> Iterator[str]:
    """A server that gives these answers, one a connection, the last one again and again; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for number in range(1000):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(answers[min(number, len(answers) - 1)])
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(1 << 16):
                            pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _http(body: bytes | object, code: int = 200, **headers: object) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(data)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + data


def _status(**more: object) -> dict[str, object]:
    cfg = program()[0].config
    return {"protocol": 1, "config": cfg.name, "fingerprint": cfg.fingerprint_hex, "limits": LIMITS, **more}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "cannot be reached"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "cannot be reached"),
        (_http(b"<html>"), "is no server of programs"),
        (_http([1]), "is no server of programs"),
        (_http(b"[" * 100_000), "is no server of programs"),
        (_http({"protocol": 1}), "is no server of programs"),
        (_http(_status(limits=5)), "is no server of programs"),
        (_http(_status(limits={"body": "x", "queue": None, "run_seconds": 1})), "is no server of programs"),
        (_http(_status(protocol=2)), "speaks protocol 2, this software 1"),
        (_http(b"<html>", 404), "404 X"),
        (_http({"error": "two\nlines"}, 418), "two lines"),
        (_http({"error": 5}, 500), "500 X"),
    ],
)
def test_servers_that_are_none(answer: bytes, message: str) -> None:
    with _answering(answer) as url, pytest.raises(DeviceError, match=message) as caught:
        Remote(url, "token")
    assert "\n" not in str(caught.value)
    assert url in str(caught.value)


def _results(**changes: object) -> bytes:
    report = {"images": 1, "cycles": 5, "cycles_by_layer": {}, "mismatches": None, "mismatches_by_layer": {}}
    buffer = io.BytesIO()
    write_arrays(
        buffer, {"y": np.zeros((1, 3), np.float32)}, {"report.json": json.dumps({**report, "seconds": 0, **changes})}
    )
    return buffer.getvalue()


def _without_outputs() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("report.json", "{}")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"nothing", "is not an npz"),
        (_results()[:-30], "is not an npz"),
        (_without_outputs(), "has no array 'y'"),
        (_results(images="many"), "is damaged"),
        (_results(cycles_by_layer=[]), "is damaged"),
        (_results(mismatches_by_layer=None), "is damaged"),
    ],
)
def test_results_that_are_none(body: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, file = program()
    monkeypatch.setattr("secrets.token_hex", lambda _: "a")
    answers = _http(_status()), _http(body, **{"X-Request-Id": "a-1-0"})
    with _answering(*answers) as url, pytest.raises(DeviceError, match=message) as caught:
        Remote(url, "token").run(made, file, {"x": images(1)})
    assert "\n" not in str(caught.value)


def test_answer_to_another_request() -> None:
    made, file = program()
    answers = _http(_status()), _http(_results(), **{"X-Request-Id": "other"})
    with _answering(*answers) as url, pytest.raises(DeviceError, match="answered another request"):
        Remote(url, "token").run(made, file, {"x": images(1)})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_http({"error": "the queue is full"}, 503), "the queue is full"),
        (_http({"error": "no"}, 404), "no"),
        (b"", "cannot be reached"),
    ],
)
def test_tries_have_an_end(answer: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, file = program()
    monkeypatch.setattr(remote_module, "_LONGEST_PAUSE", 0.01)
    with _answering(_http(_status()), answer) as url, pytest.raises(DeviceError, match=message):
        Remote(url, "token").run(made, file, {"x": images(1)})
