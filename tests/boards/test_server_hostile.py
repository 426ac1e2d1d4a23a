"""Requests that are wrong in every way: each gets one line, and the next client gets its results."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np
import pytest
from app_networks import images
from serve_bench import (
    SECONDS,
    TOKEN,
    Reply,
    address,
    ask,
    connect,
    expected,
    file_of,
    functional_server,
    head,
    program,
    raw,
    receive,
    status,
    upload,
    wait_for,
)
from vta_app.devices import Backend, make_device
from vta_arch.errors import DataError
from vta_arch.presets import load_preset
from vta_boards.server.limits import Limits
from vta_boards.server.server import Server
from vta_boards.server.tokens import Token

LIMITS = Limits(body=1 << 20, store=4 << 20, programs=4)
IMPATIENT = Limits(body=1 << 20, header_seconds=1.0, stall_seconds=1.0, body_rate=1 << 20)
NONE = "0" * 64


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with functional_server(limits=LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def digest(server: Server) -> str:
    return upload(server, program()[1])


@pytest.fixture(scope="module")
def right() -> np.ndarray:
    """Outputs of two images without a server."""
    return expected(program()[0], {"x": images(2)})["y"]


@pytest.fixture(autouse=True)
def _still_right(server: Server, right: np.ndarray) -> Iterator[None]:
    """Whatever a test did: the server then computes the right bits, and nothing is left in its queue."""
    yield
    _, file = program()
    reply = run(server, sha256(file).hexdigest(), npz(x=images(2)))
    if reply.status == 404:
        reply = run(server, upload(server, file), npz(x=images(2)))
    assert reply.status == 200, reply
    with np.load(io.BytesIO(reply.body)) as outputs:
        assert (outputs["y"] == right).all()
    found = status(server)
    assert (found["running"], found["queue"]) == (None, [])


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def member(header: str, data: bytes = b"") -> bytes:
    """A npy file with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def run(server: Server, digest: str, body: bytes, query: str = "") -> Reply:
    return ask(server, "POST", f"/v1/programs/{digest}/run{query}", body)


# Who may ask -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("X-Nothing: 1", 401),
        ("Authorization: Basic YTpi", 401),
        (f"Authorization: bearer {TOKEN}", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: Bearer wrong", 403),
        (f"Authorization: Bearer {TOKEN}x", 403),
        (f"Authorization: Bearer {TOKEN[:-1]}", 403),
        ("Authorization: Bearer \xff\xfe", 403),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/status"), ("PUT", "/v1/programs"), ("PUT", "/nowhere")])
def test_token_comes_before_everything(server: Server, line: str, code: int, method: str, path: str) -> None:
    """The body, which never comes, is not waited for."""
    start = time.monotonic()
    reply = raw(server, head(method, path, 1_000_000 if method == "PUT" else None, line, token=None))
    assert reply is not None
    assert reply.status == code
    assert "token" in reply.error
    assert time.monotonic() - start < LIMITS.header_seconds


def test_refused_while_it_sends(server: Server) -> None:
    """The answer arrives although the client sends on."""
    reply = raw(server, head("PUT", "/v1/programs", 1 << 19, token="wrong") + bytes(1 << 19))
    assert reply is not None
    assert reply.status == 403


# What a request looks like -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (head("PUT", "/v1/programs"), 411),
        (head("PUT", "/v1/programs", None, "Transfer-Encoding: chunked") + b"zz\r\n\0\0", 411),
        (head("PUT", "/v1/programs", 5, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", 411),
        (head("PUT", "/v1/programs", -1), 400),
        (head("PUT", "/v1/programs", None, "Content-Length: ten"), 400),
        (head("PUT", "/v1/programs", None, "Content-Length: 1e3"), 400),
        (head("PUT", "/v1/programs", None, "Content-Length: \xb2"), 400),
        (head("PUT", "/v1/programs", None, "Content-Length: +5"), 400),
        (head("PUT", "/v1/programs", 5, "Content-Length: 6"), 400),
        (head("PUT", "/v1/programs", None, "Content-Length: " + "9" * 30), 400),
        (head("PUT", "/v1/programs", LIMITS.body + 1), 413),
        (head("PUT", "/v1/programs", 10**17), 413),
        (head("GET", "/v1/status", 5) + b"hello", 400),
        (head("GET", "/v1/status", None, *["X: 1"] * 200), 431),
        (head("GET", "/v1/status", None, "X: " + "a" * 70_000), 431),
        (head("GET", "/v1/" + "a" * 70_000), 414),
        (head("GET", "http://["), 400),
        (head("GET", "/v1/status?" + "a=1&" * 15_000), 400),
        (head("PATCH", "/v1/status"), 501),
        (head("DELETE", "/v1/status"), 405),
        (head("POST", "/v1/programs", 0), 405),
        (b"GET /v1/status HTTP/9.9\r\n\r\n", 505),
        (b"GET /v1/status HTTP/x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (head("GET", "/"), 404),
        (head("GET", "/v1/programs/../status"), 404),
        (head("DELETE", "/v1/programs/../../etc/passwd"), 404),
        (head("DELETE", "/v1/programs/%2e%2e%2f%2e%2e"), 404),
        (head("DELETE", f"/v1/programs/{NONE}/.."), 404),
        (head("DELETE", f"/v1/programs/{NONE.replace('0', 'A')}"), 404),
        (head("DELETE", f"/v1/programs/{NONE}"), 404),
        (head("POST", f"/v1/programs/{NONE}/run", 5) + b"hello", 404),
    ],
)
def test_heads(server: Server, data: bytes, code: int) -> None:
    reply = raw(server, data)
    assert reply is not None
    assert reply.status == code
    assert reply.error
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("query", "line", "message"),
    [
        ("?pickle=1", "X: 1", "no option 'pickle'"),
        ("?check=2", "X: 1", "check is 0 or 1"),
        ("?cpu=eval", "X: 1", "cpu is one of"),
        ("", "X-Request-Id: ../../x", "X-Request-Id"),
        ("", "X-Request-Id: " + "a" * 65, "X-Request-Id"),
    ],
)
def test_options_of_a_run(server: Server, digest: str, query: str, line: str, message: str) -> None:
    reply = ask(server, "POST", f"/v1/programs/{digest}/run{query}", b"x", line)
    assert reply.status == 400
    assert message in reply.error


# What is in a body -------------------------------------------------------------------------
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }"
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 6, 6), }"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", 415, "neither a npy nor an npz"),
        (b"hello", 415, "neither a npy nor an npz"),
        (b"\x80\x04\x95", 415, "neither a npy nor an npz"),
        (npy(np.array([{}, []], dtype=object)), 400, "expected integers or floats"),
        (npy(np.array(["a"])), 400, "expected integers or floats"),
        (npy(np.zeros(2, [("a", "<f4")])), 400, "expected integers or floats"),
        (npz(x=np.array([{}, []], dtype=object)), 400, "expected integers or floats"),
        (member(HUGE), 400, "too large"),
        (zipped(x=member(HUGE)), 400, "too large"),
        (member(GOOD), 400, "damaged"),
        (member(GOOD, bytes(575)), 400, "damaged"),
        (member(GOOD, bytes(577)), 400, "damaged"),
        (member("{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,), }"), 400, "damaged"),
        (member("(" * 9000), 400, "damaged"),
        (member(GOOD.replace("(1, 4, 6, 6)", "(-1,)")), 400, "damaged"),
        (member(GOOD.replace("(1, 4, 6, 6)", "(0, 4611686018427387904, 4)")), 400, "damaged|takes"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", 400, "damaged"),
        (b"PK\x03\x04" + bytes(100), 400, "is not an npz"),
        (npz(x=images(1))[:-40], 400, "is not an npz"),
        (zipped(x=bytes(300 << 20)), 400, "too large"),
        (zipped(**{f"x{n}": bytes(1 << 20) for n in range(40)}), 400, "the network takes x.npy"),
        (npz(x=images(1), z=images(1)), 400, "the network takes x.npy"),
        (npz(z=images(1)), 400, "the network takes x.npy"),
        (npz(x=images(1)[:, :3]), 400, "the network takes"),
        (npz(x=images(0)), 400, "images"),
    ],
)
def test_tensors(server: Server, digest: str, body: bytes, code: int, message: str) -> None:
    reply = run(server, digest, body)
    assert reply.status == code
    assert any(part in reply.error for part in message.split("|")), reply.error


def test_a_zip_that_lies_about_its_size(server: Server, digest: str) -> None:
    body = bytearray(zipped(x=member(GOOD, bytes(576))))
    at = body.rindex(b"PK\x01\x02") + 24
    body[at : at + 4] = (500).to_bytes(4, "little")
    assert run(server, digest, bytes(body)).status == 400


@pytest.mark.parametrize("flips", [1, 30])
def test_damaged_programs(server: Server, flips: int) -> None:
    rng = np.random.default_rng(flips)
    file = program()[1]
    for _ in range(15):
        damaged = bytearray(file)
        for at in rng.integers(len(file), size=flips):
            damaged[at] ^= 1 << int(rng.integers(8))
        reply = ask(server, "PUT", "/v1/programs", bytes(damaged))
        assert reply.status in (201, 415, 409), reply
    assert ask(server, "PUT", "/v1/programs", file[:-100]).status == 415


def test_programs_that_are_bombs(server: Server) -> None:
    assert "unpacked is too large" in ask(server, "PUT", "/v1/programs", zipped(x=bytes(8 << 20))).error
    many = ask(server, "PUT", "/v1/programs", b"PK\x01\x02" * 30_000)
    assert (many.status, "members" in many.error) == (413, True)


def test_program_of_another_configuration(server: Server) -> None:
    made, file = program("int4")
    reply = ask(server, "PUT", "/v1/programs", file)
    assert reply.status == 409
    assert made.config.fingerprint_hex in reply.error
    assert str(status(server)["fingerprint"]) in reply.error


# How a body comes --------------------------------------------------------------------------
def test_truncated_bodies(server: Server, digest: str) -> None:
    file = program()[1]
    for path, body in (("/v1/programs", file), (f"/v1/programs/{digest}/run", npz(x=images(1)))):
        method = "PUT" if path == "/v1/programs" else "POST"
        for sent in (0, 1, len(body) // 2, len(body) - 1):
            reply = raw(server, head(method, path, len(body)) + body[:sent], close=True)
            assert reply is not None
            assert reply.status == 400
            assert f"ended after {sent} of {len(body)} bytes" in reply.error


def test_slow_clients() -> None:
    """One sends its head byte by byte, one its body, one nothing; they are let go in time."""
    with (
        functional_server(limits=IMPATIENT) as server,
        connect(server) as header,
        connect(server) as body,
        connect(server) as silent,
    ):
        body.sendall(head("PUT", "/v1/programs", 1000))
        start = time.monotonic()
        replies: list[Reply | None] = []
        for _ in range(15):
            for connection in (header, body):
                try:
                    connection.sendall(b"x")
                except (BrokenPipeError, ConnectionResetError):
                    continue
            time.sleep(0.1)
        for connection in (header, body, silent):
            replies.append(receive(connection))
        assert time.monotonic() - start < SECONDS
    assert replies[1] is not None
    assert replies[1].status == 408
    assert replies[0] is None or replies[0].status == 408
    assert replies[2] is None


def test_expect_continue(server: Server) -> None:
    """The body is asked for only where it is wanted."""
    file = program()[1]
    for token, first in ((TOKEN, b"HTTP/1.1 100 Continue\r\n\r\n"), ("wrong", b"HTTP/1.1 403")):
        with connect(server) as connection:
            connection.sendall(head("PUT", "/v1/programs", len(file), "Expect: 100-continue", token=token))
            assert connection.recv(25).startswith(first)


def test_what_follows_a_request_is_no_request(server: Server, digest: str) -> None:
    hidden = head("DELETE", f"/v1/programs/{digest}")
    reply = raw(server, head("GET", "/v1/status") + hidden)
    assert reply is not None
    assert reply.body.count(b"\n") == 1
    assert status(server)["programs"] != 0


def test_random_bytes(server: Server, digest: str) -> None:
    rng = np.random.default_rng(11)
    whole = head("POST", f"/v1/programs/{digest}/run", 900) + npz(x=images(1))
    for turn in range(60):
        data = bytearray(rng.bytes(int(rng.integers(1, 400)))) if turn % 2 else bytearray(whole)
        for at in rng.integers(len(data), size=6):
            data[at] = int(rng.integers(256))
        reply = raw(server, bytes(data), close=True)
        assert reply is None or reply.status == 200 or reply.error


def test_client_killed_in_the_middle_of_an_upload(server: Server) -> None:
    host, port = address(server)
    code = f"""
import socket, time
s = socket.create_connection(({host!r}, {port}))
s.sendall({head("PUT", "/v1/programs", 500_000)!r} + bytes(200_000))
print("sent", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"sent\n"
        client.kill()
    assert status(server)["running"] is None


def test_more_connections_than_are_taken() -> None:
    limits = Limits(body=1 << 20, connections=3, header_seconds=2.0)
    with functional_server(limits=limits) as small:
        idle = [connect(small) for _ in range(3)]
        wait_for(lambda: (reply := raw(small, b"")) is not None and reply.status == 503, "the limit is not kept")
        for connection in idle:
            connection.close()
        wait_for(lambda: (raw(small, head("GET", "/v1/status")) or Reply(0, {}, b"")).status == 200, "no way back")


def test_oldest_programs_go_first(server: Server) -> None:
    files = [file_of(replace(program()[0], name=str(number))) for number in range(LIMITS.programs + 1)]
    digests = [upload(server, file) for file in files]
    listed = [item["program"] for item in json.loads(ask(server, "GET", "/v1/programs").body)["programs"]]
    assert listed == digests[1:]
    assert "PUT it" in run(server, digests[0], npz(x=images(1))).error
    assert ask(server, "DELETE", f"/v1/programs/{digests[1]}").status == 200
    assert ask(server, "DELETE", f"/v1/programs/{digests[1]}").status == 404
    again = ask(server, "PUT", "/v1/programs", files[2])
    assert (again.status, json.loads(again.body)["program"]) == (200, digests[2])


def test_addresses_that_are_taken(server: Server) -> None:
    factory, cfg = partial(make_device, Backend.FUNCTIONAL), load_preset("tiny")
    with pytest.raises(DataError, match=r"cannot listen on 127\.0\.0\.1"):
        Server(factory, cfg, Token(TOKEN), port=address(server)[1])
