"""The process that holds the device: what runs there can be ended, and a crash there ends nothing else.

Messages over the pipe are JSON; the process is told of a run's files, never sent objects.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.errors import DeviceError, VTAError

from .jobs import DeviceFactory, JobRunner

ABORT_SECONDS = 5.0
"""Given to a process to leave its device in order before it is killed."""
START_SECONDS = 120.0
_CONTEXT = multiprocessing.get_context("spawn")


class RunAborted(Exception):
    """The run did not end within its time, its process died, or the server stops; the message says which."""


class OutOfTime(RunAborted):
    """The run did not end within its time."""


class Worker:
    """The server's side: starts the process, gives it one job at a time, and starts another one after an abort.

    Args:
        factory: opens the device, in the process.
        config: configuration of the device and of all programs.
        folder: where the jobs' files are; removed by the process when the server dies without doing so.
        memory: bytes that the process may allocate.
    """

    def __init__(self, factory: DeviceFactory, config: VTAConfig, folder: Path, memory: int) -> None:
        self._arguments = (factory, config, str(folder), memory)
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process and open the device. Raises DeviceError when either fails."""
        with self._lock:
            if self._stopped:
                raise DeviceError("the server stops")
            ours, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_main, args=(theirs, *self._arguments), daemon=True)
            self._process.start()
            self._pipe = ours
            theirs.close()
        try:
            reply = self._receive(START_SECONDS, "opening the device")
        except RunAborted as error:
            raise DeviceError(str(error)) from None
        if "error" in reply:
            self._end()
            raise DeviceError(str(reply["error"]))

    def run(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The reply to a job. Raises OutOfTime or RunAborted, DeviceError when the device cannot be opened again."""
        if self._pipe is None:
            self.start()
        assert self._pipe is not None
        try:
            self._pipe.send_bytes(json.dumps(job).encode())
        except OSError:
            self._end()
            raise RunAborted("the process of the device had ended; try again") from None
        return self._receive(seconds, "the run")

    def stop(self) -> None:
        """End the process, in the middle of a run as well; there is no other afterwards."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None:
            _finish(process)

    def _receive(self, seconds: float, what: str) -> dict[str, Any]:
        assert self._pipe is not None
        try:
            if self._pipe.poll(seconds):
                reply = json.loads(self._pipe.recv_bytes())
                assert isinstance(reply, dict)
                return reply
        except (EOFError, OSError):
            self._end()
            why = "the server stops" if self._stopped else "its process ended; the server's log may say why"
            raise RunAborted(f"{what} was ended: {why}") from None
        self._end()
        raise OutOfTime(f"{what} did not end within {seconds:g} s; send fewer images or raise the server's limit")

    def _end(self) -> None:
        with self._lock:
            process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is not None:
            _finish(process)
        if pipe is not None:
            pipe.close()


def _finish(process: SpawnProcess) -> None:
    process.terminate()
    process.join(ABORT_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


class _Terminated(BaseException):
    """Asked to end: raised wherever the run is, so that driver and device are left in order."""


def _main(pipe: Connection, factory: DeviceFactory, config: VTAConfig, folder: str, memory: int) -> None:
    """The process: opens the device, says so, and runs jobs until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    signal.signal(signal.SIGTERM, _terminate)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    threading.Thread(target=_end_with_server, args=(folder,), daemon=True).start()
    try:
        try:
            _serve(pipe, factory, config)
            gone = False
        except (EOFError, ConnectionError):
            gone = True
        # The thread above asks to end at about the same time, which must not stop the removal of files.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except _Terminated:
        gone = not _server().is_alive()
    _leave(folder if gone else None, 0)


def _leave(folder: str | None, status: int) -> None:
    """End the process, and remove what a server that is gone has left in ``folder``.

    Not through the exit handlers of libraries, whose state is unknown in the middle of a run.
    """
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(status)


def _server() -> BaseProcess:
    server = multiprocessing.parent_process()
    assert server is not None
    return server


def _serve(pipe: Connection, factory: DeviceFactory, config: VTAConfig) -> None:
    try:
        runner = JobRunner(factory, config)
    except VTAError as error:
        pipe.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    try:
        pipe.send_bytes(b"{}")
        while True:
            job = json.loads(pipe.recv_bytes())
            pipe.send_bytes(json.dumps(runner.run(job)).encode())
    finally:
        runner.close()


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _end_with_server(folder: str) -> None:
    """When the server is gone, whatever the reason: nobody reads the files, and another server may want the device."""
    _server().join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ABORT_SECONDS)
    _leave(folder, 1)
