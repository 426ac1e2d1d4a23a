"""``vta serve`` and ``vta run --backend http://...`` as commands, and the requests of docs/serve.md with curl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from app_networks import images, write_files
from serve_bench import environment, program

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef"
RUN = ("run", "p.vta", "--input", "data.npz")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over the RTL of ``tiny``, as the command prints its address."""
    file = tmp_path_factory.mktemp("serve") / "token"
    file.write_text(f"{TOKEN}\n")
    command = [sys.executable, "-m", "vta_app.main", "serve", "--config", "tiny", "--backend", "rtl", "--port", "0"]
    with subprocess.Popen(
        [*command, "--token-file", str(file)], env=environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("serving rtl, tiny ("), line
            yield line.split()[-1]
        finally:
            server.terminate()
            assert server.wait(30) == 0


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    (tmp_path / "p.vta").write_bytes(program()[1])
    np.savez(tmp_path / "x.npz", x=images(4))
    monkeypatch.setenv("VTA_TOKEN", TOKEN)


def test_same_as_without_a_server(vta: Callable, url: str, tmp_path: Path) -> None:
    reports = {}
    for backend in ("rtl", url):
        options = ("--labels", "data.npz:y", "--limit", "5", "--check", "--json", "r.json", "-o", "y.npz")
        outcome = vta(*RUN, "--backend", backend, *options)
        assert outcome.status == 0, outcome
        report = json.loads((tmp_path / "r.json").read_text())
        with np.load(tmp_path / "y.npz") as file:
            reports[backend] = report, file["y"]
    ours, theirs = reports["rtl"], reports[url]
    assert theirs[0].pop("backend") == url
    assert ours[0].pop("backend") == "rtl"
    assert ours[0].pop("seconds") > 0
    assert theirs[0].pop("seconds") > 0
    assert ours[0] == theirs[0]
    assert ours[0]["cycles"] > 0
    assert ours[1].dtype == theirs[1].dtype
    assert (ours[1] == theirs[1]).all()
    alone = vta(*RUN, "--backend", url, "--layer", "conv", "--limit", "1", "--cpu", "numpy", "-o", "c.npz")
    assert alone.status == 0, alone


def test_what_a_server_does_not_do(refused: Callable[..., str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "takes no --trace" in refused(*RUN, "--backend", url, "--trace", "t.json")
    assert "takes no --beat-interval" in refused(*RUN, "--backend", url, "--beat-interval", "2")
    assert "takes no --ca-file" in refused(*RUN, "--ca-file", "p.vta")
    assert "no accelerator layer 'relu'" in refused(*RUN, "--backend", url, "--layer", "relu")
    monkeypatch.setenv("VTA_TOKEN", "wrong")
    assert "the token is not the server's" in refused(*RUN, "--backend", url)
    monkeypatch.delenv("VTA_TOKEN")
    assert "give --token-file or set VTA_TOKEN" in refused(*RUN, "--backend", url)
    assert "none: cannot be read" in refused(*RUN, "--backend", url, "--token-file", "none")


def test_mistakes_of_clients(refused: Callable[..., str], vta: Callable, url: str, tmp_path: Path) -> None:
    assert "cannot be reached" in refused(*RUN, "--backend", "http://127.0.0.1:1")
    assert "is no address of a server" in refused(*RUN, "--backend", "ftp://127.0.0.1:1")
    assert "cannot be reached" in refused(*RUN, "--backend", url.replace("http", "https"))
    (tmp_path / "p.vta").write_bytes(program("int4")[1])
    line = refused(*RUN, "--backend", url)
    assert "int4" in line
    assert "compile it again with --config tiny" in line
    assert vta(*RUN, "--backend", "fpga").status == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-cert", "x.npz"], "given together"),
        (["--tls-cert", "x.npz", "--tls-key", "x.npz"], "are no certificate and its key"),
        (["--token-file", "short"], "16 or more"),
        (["--host", "no.such.host.invalid"], "cannot listen on"),
        (["--max-body", "0"], "limit body = 0"),
        (["--backend", "reference"], "runs no instructions"),
    ],
)
def test_mistakes_of_servers(vta: Callable, options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("secret")
    outcome = vta("serve", "--config", "tiny", "--port", "0", *options)
    assert outcome.status == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_token_of_ones_own(tmp_path: Path) -> None:
    """Printed once, and good for a run."""
    env = environment()
    del env["VTA_TOKEN"]
    command = [sys.executable, "-m", "vta_app.main"]
    options = ["--config", "tiny", "--port", "0", "--host", "localhost"]
    with subprocess.Popen([*command, "serve", *options], env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            token = server.stdout.readline().removeprefix("token: ").strip()
            address = server.stdout.readline().split()[-1]
            (tmp_path / "mine").write_text(token)
            run = [*command, *RUN, "--backend", address, "--token-file", "mine"]
            subprocess.run(run, env=env, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        finally:
            server.terminate()


def test_documented_requests(url: str, tmp_path: Path) -> None:
    """The commands of docs/serve.md, as they stand there."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    page = (ROOT / "docs/serve.md").read_text(encoding="utf-8")
    script = "set -e\n" + "\n".join(re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL))
    env = {**environment(SERVER=url), "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    assert "(4, 3)" in done.stdout
    assert '"mismatches": 0' in done.stdout
    assert json.loads(done.stdout.splitlines()[0])["config"] == "tiny"


def test_every_status_code_is_documented() -> None:
    page = (ROOT / "docs/serve.md").read_text(encoding="utf-8")
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "boards/vta_boards/server").glob("*.py"))
    from http import HTTPStatus

    for name in set(re.findall(r"HTTPStatus\.([A-Z_]{4,})", source)):
        assert str(HTTPStatus[name].value) in page, name
