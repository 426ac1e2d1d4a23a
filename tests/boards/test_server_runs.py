"""The queue, the time limit, crashes and departures: over a device that does as it is told.

The CPU's part runs in numpy: a process that was started anew does not import onnxruntime within its time limit.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from app_networks import images
from serve_bench import (
    TOKEN,
    Reply,
    ask,
    connect,
    environment,
    expected,
    file_of,
    functional_server,
    head,
    program,
    status,
    upload,
    wait_for,
)
from vta_arch.program import CpuStep
from vta_boards.server.limits import Limits
from vta_boards.server.server import Server
from vta_runtime.remote import Remote

LIMITS = Limits(body=1 << 20, queue=2, run_seconds=2.0, memory=2 << 30)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the device is told; every test leaves it empty."""
    path = tmp_path_factory.mktemp("orders") / "orders"
    path.write_text("")
    return path


@pytest.fixture(scope="module")
def server(orders: Path) -> Iterator[Server]:
    with functional_server(limits=LIMITS, orders=orders) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_orders(orders: Path) -> Iterator[None]:
    orders.write_text("")
    yield
    orders.write_text("")


def _body(first: int) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=images(8)[first : first + 1])
    return buffer.getvalue()


def _run(server: Server, digest: str, first: int = 0, name: str = "one") -> Reply:
    return ask(server, "POST", f"/v1/programs/{digest}/run?cpu=numpy", _body(first), f"X-Request-Id: {name}")


def _right(reply: Reply, first: int = 0) -> bool:
    """Whether the answer holds the outputs of image ``first``."""
    assert reply.status == 200, reply
    with np.load(io.BytesIO(reply.body)) as outputs:
        return bool((outputs["y"] == expected(program()[0], {"x": images(8)[first : first + 1]}, "numpy")["y"]).all())


def _started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _names(server: Server) -> list[str]:
    """Requests in the queue, the one that runs first."""
    found = status(server)
    running = [found["running"]] if found["running"] else []
    return [entry["request"] for entry in running + found["queue"]]


def test_first_come_first_served(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    orders.write_text("sleep 1")
    replies: dict[str, Reply] = {}
    ran: list[str] = []

    def run(number: int) -> None:
        replies[str(number)] = _run(server, digest, number, str(number))

    def over() -> bool:
        ran.extend(name for name in _names(server)[:1] if name not in ran)
        return len(replies) == 3

    threads = []
    for number in range(3):
        threads.append(_started(partial(run, number)))
        wait_for(lambda: len(_names(server)) == len(threads), "it is not in the queue")
    queue = status(server)["queue"]
    assert [(entry["request"], entry["position"]) for entry in queue] == [("1", 1), ("2", 2)]
    full = _run(server, digest, 3, "3")
    assert (full.status, full.headers["retry-after"]) == (503, "1")
    assert "the queue is full: 2 runs wait" in full.error
    needed = ask(server, "DELETE", f"/v1/programs/{digest}")
    assert (needed.status, "is needed by 3 requests" in needed.error) == (409, True)
    orders.write_text("sleep 0.3")
    wait_for(over, "a run does not end")
    assert ran == ["0", "1", "2"]
    assert all(_right(replies[str(number)], number) for number in range(3))
    assert replies["2"].headers["x-request-id"] == "2"


def test_same_name_twice(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    orders.write_text("sleep 0.5")
    replies: list[Reply] = []
    thread = _started(lambda: replies.append(_run(server, digest, 0, "twin")))
    wait_for(lambda: _names(server) == ["twin"], "it does not run")
    assert _run(server, digest, 1, "twin").status == 409
    thread.join(20)
    assert _right(replies[0], 0)


def test_who_leaves_the_queue_gives_up_the_place(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    orders.write_text("sleep 1")
    replies: list[Reply] = []
    thread = _started(lambda: replies.append(_run(server, digest, 0, "first")))
    wait_for(lambda: _names(server) == ["first"], "it does not run")
    with connect(server) as leaving:
        body = _body(1)
        leaving.sendall(head("POST", f"/v1/programs/{digest}/run", len(body), "X-Request-Id: second") + body)
        wait_for(lambda: _names(server) == ["first", "second"], "it does not wait")
    wait_for(lambda: "second" not in _names(server), "it still waits")
    assert _names(server) == ["first"]
    thread.join(20)
    assert _right(replies[0])


def test_result_of_a_client_that_was_killed_is_dropped(server: Server, orders: Path, tmp_path: Path) -> None:
    digest = upload(server, program()[1])
    orders.write_text("sleep 0.7")
    code = f"""
import numpy as np, sys
from vta_arch.program import Program
from vta_runtime.remote import Remote
file = sys.stdin.buffer.read()
open("p.vta", "wb").write(file)
Remote({server.url!r}, {TOKEN!r}).run(Program.load("p.vta"), file, {{"x": np.ones((1, 4, 6, 6))}}, cpu="numpy")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=tmp_path, env=environment()
    ) as client:
        assert client.stdin is not None
        client.stdin.write(program()[1])
        client.stdin.close()
        wait_for(lambda: len(_names(server)) == 1, "it does not run")
        client.kill()
    orders.write_text("")
    assert _right(_run(server, digest))
    assert _names(server) == []


def test_time_limit(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    assert _right(_run(server, digest))
    orders.write_text("sleep 30")
    start = time.monotonic()
    late = _run(server, digest)
    assert (late.status, "did not end within 2 s" in late.error) == (504, True)
    assert time.monotonic() - start < 8
    orders.write_text("")
    assert all(_right(_run(server, digest, first), first) for first in range(2))


def test_crash_and_failure(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    for order, text in (("crash", "its process ended"), ("fail", "told to fail")):
        orders.write_text(order)
        broken = _run(server, digest)
        assert (broken.status, text in broken.error) == (500, True)
        orders.write_text("")
        assert _right(_run(server, digest, 1), 1)


def test_comparison_on_the_server(server: Server, orders: Path) -> None:
    """A device with an error in every element that it gives back."""
    made, file = program()
    orders.write_text("flip")
    _, report = Remote(server.url, TOKEN).run(made, file, {"x": images(3)}, check=True, cpu="numpy")
    assert report.mismatches_by_layer["conv"] == 3 * images(1).size
    assert report.mismatches == sum(report.mismatches_by_layer.values())


def test_memory_limit(server: Server, orders: Path) -> None:
    digest = upload(server, program()[1])
    orders.write_text(f"eat {LIMITS.memory}")
    hungry = _run(server, digest)
    assert (hungry.status, "not enough memory" in hungry.error) == (507, True)
    orders.write_text("")
    assert _right(_run(server, digest))


def test_stop_in_the_middle(orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs and who waits are told to come again; no file stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file, replies = program()[1], []
    server = functional_server(limits=LIMITS, orders=orders)
    digest = upload(server, file)
    orders.write_text("sleep 30")

    def run(name: str) -> None:
        replies.append(_run(server, digest, 0, name))

    threads = [_started(partial(run, name)) for name in "ab"]
    wait_for(lambda: len(_names(server)) == 2, "they do not wait")
    assert len(list(tmp_path.iterdir())) == 1
    server.close()
    for thread in threads:
        thread.join(20)
    assert [(reply.status, reply.error) for reply in replies] == [(503, "the server stops")] * 2
    assert list(tmp_path.iterdir()) == []


def test_client_waits_for_room(server: Server, orders: Path) -> None:
    """More clients than the queue takes: each comes again until it has its result."""
    made, file = program()
    orders.write_text("sleep 0.05")
    outputs: dict[int, np.ndarray] = {}

    def run(number: int) -> None:
        inputs = {"x": images(8)[number : number + 1]}
        outputs[number] = Remote(server.url, TOKEN).run(made, file, inputs, cpu="numpy")[0]["y"]

    threads = [_started(partial(run, number)) for number in range(6)]
    for thread in threads:
        thread.join(40)
    for number in range(6):
        assert (outputs[number] == expected(made, {"x": images(8)[number : number + 1]}, "numpy")["y"]).all()


def test_data_in_other_files_is_not_read(server: Server, tmp_path: Path) -> None:
    """A program whose CPU subgraph takes a constant from a file beside it."""
    made = program()[0]
    steps = list(made.steps)
    place = next(number for number, step in enumerate(steps) if isinstance(step, CpuStep))
    step = steps[place]
    assert isinstance(step, CpuStep)
    model = onnx.load_from_string(step.model)
    tensor = model.graph.initializer[0]
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"secret" * 100)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(secret)), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    steps[place] = replace(step, model=model.SerializeToString())
    digest = upload(server, file_of(replace(made, steps=tuple(steps))))
    reply = _run(server, digest)
    assert (reply.status, "lies in another file" in reply.error) == (422, True)
    assert "secret" not in json.dumps(reply.error)
    assert _right(_run(server, upload(server, program()[1])))
