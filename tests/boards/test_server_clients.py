"""Clients of the runtime: many at once, over TLS, through restarts; always the bits of a run without a server."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from app_networks import images
from serve_bench import SERVER, TOKEN, connect, expected, functional_server, program, server_process, wait_for
from vta_app.devices import Backend, make_device
from vta_arch.errors import DataError, DeviceError, ProgramError
from vta_arch.presets import load_preset
from vta_boards.server.server import Server
from vta_boards.server.tokens import Token
from vta_runtime.executor import Executor
from vta_runtime.remote import Remote
from vta_sim.rtl import RtlDevice


class _Together:
    """Does everything at once. Fails when anything fails or hangs."""

    def __init__(self, works: list[Callable[[], None]]) -> None:
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failures.append(error)
            raise

    def __enter__(self) -> _Together:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.join()

    def join(self, seconds: float = 60) -> None:
        """Wait for all of them."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        assert self._failures == []
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"


@pytest.mark.parametrize("config", ["tiny", "pynq-z1", "int4"])
def test_bits_of_a_local_run(config: str) -> None:
    made, file = program(config)
    local = Executor(made, make_device(Backend.FUNCTIONAL, made.config))
    with functional_server(config) as server:
        remote = Remote(server.url, TOKEN)
        seen: list[tuple[str, int, int]] = []
        outputs, report = remote.run(made, file, {"x": images(8)}, check=True, progress=lambda *step: seen.append(step))
        wanted = local.run({"x": images(8)}, check=True)
        assert outputs["y"].dtype == wanted["y"].dtype
        assert (outputs["y"] == wanted["y"]).all()
        assert (report.images, report.cycles, report.mismatches) == (8, None, 0)
        assert report.mismatches_by_layer == local.report.mismatches_by_layer
        assert {stage for stage, _, _ in seen} == {"run", "upload"}
        assert seen[-1] == ("run", 8, 8)
        names = [layer.name for layer in made.layers[:2]]
        alone, report = remote.run(made, file, {"x": images(2)}, layers=names, cpu="numpy")
        wanted = local.run({"x": images(2)}, layers=names)
        assert all((alone[name] == wanted[name]).all() for name in wanted)
        assert report.mismatches_by_layer == dict.fromkeys(names, 0)
        with pytest.raises(ProgramError, match="no accelerator layer 'none'"):
            remote.run(made, file, {"x": images(2)}, layers=["none"])
        with pytest.raises(DataError, match="the network takes"):
            remote.run(made, file, {"x": images(2)[:, :2]})
        other = "tiny" if config != "tiny" else "int4"
        with pytest.raises(ProgramError, match=f"compile it again with --config {config}"):
            remote.run(*program(other), {"x": images(1)})


def test_eight_clients_at_once_on_rtl() -> None:
    """Different programs and different inputs: outputs and cycles are those of a simulator of one's own."""
    programs = [program(seed=seed) for seed in (7, 8)]
    devices = [RtlDevice(made.config) for made, _ in programs]
    locals_ = [Executor(made, device) for (made, _), device in zip(programs, devices, strict=True)]
    wanted = {}
    for client in range(8):
        which = client % len(programs)
        outputs = locals_[which].run({"x": images(8)[client:][:3]})
        wanted[client] = outputs["y"], locals_[which].report.cycles

    def work(server: Server, client: int) -> None:
        made, file = programs[client % len(programs)]
        for _ in range(2):
            outputs, report = Remote(server.url, TOKEN).run(made, file, {"x": images(8)[client:][:3]})
            assert (outputs["y"] == wanted[client][0]).all()
            assert report.cycles == wanted[client][1]

    with Server(partial(make_device, Backend.RTL), load_preset("tiny"), Token(TOKEN)) as server:
        server.start()
        with _Together([partial(work, server, client) for client in range(8)]):
            pass


# TLS ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem"
    command += " -days 2 -subj /CN=board -addext subjectAltName=IP:127.0.0.1"
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    made, file = program()
    factory = partial(make_device, Backend.FUNCTIONAL)
    with Server(factory, made.config, Token(TOKEN), tls=certificate) as server:
        server.start()
        assert server.url.startswith("https://")
        outputs, _ = Remote(server.url, TOKEN, ca_file=certificate[0]).run(made, file, {"x": images(2)})
        assert (outputs["y"] == expected(made, {"x": images(2)})["y"]).all()
        with pytest.raises(DeviceError, match="certificate is not trusted"):
            Remote(server.url, TOKEN)
        with pytest.raises(DeviceError, match="cannot be reached"):
            Remote(server.url.replace("https", "http"), TOKEN)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_1
        with connect(server) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain)
        assert Remote(server.url, TOKEN, ca_file=certificate[0]).status["config"] == "tiny"
    with pytest.raises(DataError, match="are no certificate and its key"):
        Server(factory, made.config, Token(TOKEN), tls=(certificate[1], certificate[0]))
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(DeviceError, match="holds no certificates"):
        Remote("https://127.0.0.1:1", TOKEN, ca_file=tmp_path / "none.pem")


# What cannot work --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url", ["http://", "ftp://a:1", "http://a:99999", "http://a/b", "http://u:p@a:1", "http://a?b"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(DeviceError, match="is no address of a server"):
        Remote(url, TOKEN)


def test_nobody_there_and_wrong_tokens() -> None:
    with pytest.raises(DeviceError, match="cannot be reached"):
        Remote(f"http://127.0.0.1:{_free_port()}", TOKEN)
    with functional_server() as server:
        with pytest.raises(DeviceError, match="the token is not the server's"):
            Remote(server.url, "another")
        with pytest.raises(DeviceError, match="characters that no token has"):
            Remote(server.url, "two\r\nlines")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# Restarts ----------------------------------------------------------------------------------
def test_restarts_in_the_middle(tmp_path: Path) -> None:
    """The server is killed, then stopped, while clients work: nothing is lost and nothing wrong."""
    port, over, done = _free_port(), threading.Event(), [0] * 4
    programs, inputs = [program(seed=seed) for seed in (7, 8)], {"x": images(3)}
    wanted = [expected(made, inputs, "numpy")["y"] for made, _ in programs]

    def work(client: int) -> None:
        made, file = programs[client % 2]
        remote = Remote(f"http://127.0.0.1:{port}", TOKEN)
        while not over.is_set():
            outputs, report = remote.run(made, file, inputs, cpu="numpy")
            assert (outputs["y"] == wanted[client % 2]).all()
            assert report.images == 3
            done[client] += 1

    def progress() -> None:
        before = list(done)
        wait_for(lambda: all(now > old for now, old in zip(done, before, strict=True)), "no progress", 60)

    start = partial(server_process, SERVER, port, TMPDIR=str(tmp_path))
    with start() as (first, _), _Together([partial(work, client) for client in range(4)]) as clients:
        progress()
        first.kill()
        first.wait(20)
        with start() as (second, _):
            progress()
            second.terminate()
            assert second.wait(20) == 0
        with start():
            progress()
            over.set()
            clients.join()
    wait_for(lambda: not list(tmp_path.glob("vta-serve-*")), "files of a killed server stay")
