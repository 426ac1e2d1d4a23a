"""What the tests of the server need: programs, a device that obeys, and requests that no library would send."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import vta_app
from app_networks import images, network
from numpy.typing import NDArray
from vta_app.devices import Backend, make_device
from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.program import Program
from vta_boards.server.limits import Limits
from vta_boards.server.server import Server
from vta_boards.server.tokens import Token
from vta_runtime.device import RunResult
from vta_runtime.evaluators import Evaluator
from vta_runtime.executor import Executor
from vta_sim.functional import FunctionalDevice

TOKEN = "a token for tests".replace(" ", "-")
SECONDS = 20.0
"""No answer takes longer: a test that waits for more has found a hang."""
Arrays = Mapping[str, np.ndarray]


@functools.cache
def program(config: str = "tiny", seed: int = 7) -> tuple[Program, bytes]:
    """A compiled program and its file."""
    cfg = load_preset(config)
    made = vta_app.compile(vta_app.quantize(network(seed=seed), cfg, images()), cfg)
    return made, file_of(made)


def file_of(made: Program) -> bytes:
    """The bytes of a program's file."""
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder) / "p.vta")
        return (Path(folder) / "p.vta").read_bytes()


def expected(made: Program, inputs: Arrays, cpu: str = "onnxruntime") -> dict[str, np.ndarray]:
    """Outputs on the functional simulator in this process."""
    return Executor(made, FunctionalDevice(made.config), cpu=Evaluator(cpu)).run(inputs)


class ObedientDevice(FunctionalDevice):
    """Does what a file says: ``sleep SECONDS``, ``crash``, ``fail``, ``eat BYTES``, ``flip`` bits, or nothing of it."""

    def __init__(self, orders: Path, cfg: VTAConfig) -> None:
        super().__init__(cfg)
        self._orders = orders

    def launch(self, insn_address: int, insn_count: int, bases: Mapping[Memory, int]) -> RunResult:
        order, _, value = self._orders.read_text().partition(" ")
        if order == "sleep":
            time.sleep(float(value))
        elif order == "crash":
            os._exit(3)
        elif order == "eat":
            np.zeros(int(value), np.uint8)
        elif order == "fail":
            raise DeviceError("told to fail")
        return super().launch(insn_address, insn_count, bases)

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        values = super().read(address, size)
        return values ^ np.uint8(1) if self._orders.read_text() == "flip" else values


def functional_server(config: str = "tiny", limits: Limits | None = None, orders: Path | None = None) -> Server:
    """A server in this process, started; over an obedient device when there are orders."""
    factory = partial(make_device, Backend.FUNCTIONAL) if orders is None else partial(ObedientDevice, orders)
    server = Server(factory, load_preset(config), Token(TOKEN), limits=limits, backend="functional")
    server.start()
    return server


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        text = json.loads(self.body)["error"]
        assert "\n" not in text
        return str(text)


def address(server: Server | str) -> tuple[str, int]:
    """Where a server or a URL is."""
    host, _, port = (server if isinstance(server, str) else server.url).rpartition("//")[2].partition(":")
    return host, int(port)


def connect(server: Server | str) -> socket.socket:
    """A connection on which nothing waits forever."""
    return socket.create_connection(address(server), timeout=SECONDS)


def receive(connection: socket.socket) -> Reply | None:
    """The answer on a connection; None when it closes without one."""
    data = b"".join(_until_closed(connection))
    if not data:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Reply(int(first.split()[1]), headers, body)


def _until_closed(connection: socket.socket) -> Iterator[bytes]:
    try:
        while data := connection.recv(1 << 16):
            yield data
    except ConnectionResetError:
        return


def raw(server: Server | str, data: bytes, *, close: bool = False) -> Reply | None:
    """The answer to any bytes; ``close``: say that no more come."""
    with connect(server) as connection:
        try:
            connection.sendall(data)
            if close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return receive(connection)


def head(method: str, path: str, size: int | None = None, *lines: str, token: str | None = TOKEN) -> bytes:
    """The head of a request."""
    parts = [f"{method} {path} HTTP/1.1", "Host: test", *lines]
    if token is not None:
        parts.append(f"Authorization: Bearer {token}")
    if size is not None:
        parts.append(f"Content-Length: {size}")
    return "\r\n".join([*parts, "", ""]).encode("latin-1")


def ask(server: Server | str, method: str, path: str, body: bytes | None = None, *lines: str) -> Reply:
    """The answer to a request as it should be."""
    size = None if body is None else len(body)
    reply = raw(server, head(method, path, size, *lines) + (body or b""))
    assert reply is not None
    return reply


def upload(server: Server | str, file: bytes) -> str:
    """Upload a program; its digest."""
    reply = ask(server, "PUT", "/v1/programs", file)
    assert reply.status in (200, 201), reply
    return str(json.loads(reply.body)["program"])


def status(server: Server | str) -> dict[str, Any]:
    """What the server says about itself."""
    return dict(json.loads(ask(server, "GET", "/v1/status").body))


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


SERVER = """
import sys
from vta_arch.presets import load_preset
from vta_boards.server.command import serve
from vta_boards.server.options import ServeOptions
from vta_sim.functional import FunctionalDevice
serve(FunctionalDevice, load_preset("tiny"), ServeOptions(port=int(sys.argv[1])), "simulated")
"""
ON_BOARD = """
import sys
from pathlib import Path
from vta_boards.on_board import main
sys.exit(main(["serve", *sys.argv[2:]], root=Path(sys.argv[1])))
"""
"""``vta-board serve``, with another folder for ``/``."""


@contextlib.contextmanager
def server_process(code: str, *arguments: object, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process, and its URL; ended with the block."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = environment(VTA_TOKEN=TOKEN, **variables)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("serving "), line
            yield server, line.split()[-1]
        finally:
            server.kill()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until a function says yes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
