"""Runs a program on the device of a server: the client of docs/serve.md.

Everything that it asks for can be asked again: a program is known by its digest, and a run changes nothing on the
server. So a server that is restarted in the middle costs time, not results.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.errors import DataError, DeviceError, ProgramError
from vta_arch.program import Program

from .array_files import opened, read_member, read_text, write_arrays
from .executor import RunReport, check_inputs, joined
from .http_client import Again, HttpClient, Rejected, Response, Unreachable, chunks
from .protocol import PROGRAMS_PATH, PROTOCOL_VERSION, REPORT_MEMBER, REQUEST_HEADER, STATUS_PATH

TRIES = 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between tries: the pause doubles, half a minute in all; a board's server starts in less."""
_STATUS_SECONDS = 30.0
_SPARE_SECONDS = 60.0
_PIECE_BYTES = 16 << 20
_PIECE_SECONDS = 1.0
"""A run is asked for in pieces of about this time, so that other clients get their turn."""
_REPORT_LIMIT = 16 << 20
_ANSWER_LIMIT = 4 << 30

Arrays = Mapping[str, NDArray[np.generic]]
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


class Remote:
    """A server and what it said about itself.

    Args:
        url: http://HOST[:PORT] or https://HOST[:PORT].
        token: the server's.
        ca_file: certificates in PEM to trust instead of the system's.

    Raises DeviceError when it does not answer, refuses the token, is not trusted or speaks another protocol.
    """

    def __init__(self, url: str, token: str, *, ca_file: Path | None = None) -> None:
        self._client = HttpClient(url, token, ca_file)
        self._name = secrets.token_hex(8)
        self._runs = 0
        self.status, self._body_limit, self._run_seconds = self._ask_status()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._client.url

    def require(self, config: VTAConfig) -> None:
        """Raise ProgramError, naming both, unless ``config`` is the configuration of the server's device."""
        if self.status["fingerprint"] != config.fingerprint_hex:
            name = self.status["config"]
            raise ProgramError(
                f"program was compiled for configuration {config.name} ({config.fingerprint_hex}), "
                f"{self.url} has {name} ({self.status['fingerprint']}); compile it again with --config {name}"
            )

    def run(
        self,
        program: Program,
        file: bytes,
        inputs: Arrays,
        *,
        check: bool = False,
        layers: Sequence[str] = (),
        cpu: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[dict[str, NDArray[Any]], RunReport]:
        """Run any number of images, as :meth:`vta_runtime.executor.Executor.run` does.

        Args:
            program: the program.
            file: the same as the bytes of its ``.vta`` file, uploaded when the server does not have it.
            inputs: by input name, arrays of shape [images, ...].
            check: compare every layer with the integer reference, on the server.
            layers: run only these layers, alone, and compare them.
            cpu: what runs the nodes that are not on the accelerator; None: what the server has.
            progress: called with "upload" or "run", the bytes or images done and all of them.

        Returns outputs by name, and the report. Raises DataError for inputs that do not fit, ProgramError for
        another configuration or an unknown layer, DeviceError for what the server refuses or when it is gone.
        """
        self.require(program.config)
        arrays, images = check_inputs(program, inputs)
        names = [program.layer(name).output for name in layers] or list(program.outputs)
        query = urlencode(
            [("check", int(check)), *(("layer", name) for name in layers), *([("cpu", cpu)] if cpu else [])]
        )
        job = _Job(file, hashlib.sha256(file).hexdigest(), query, list(dict.fromkeys(names)), progress)
        report, parts, first = RunReport(mismatches=0 if check or layers else None), [], 0
        size, largest = program.batch, self._largest_piece(program, names)
        while first < images:
            if progress is not None:
                progress("run", first, images)
            outputs, seconds = self._piece(job, {n: a[first : first + size] for n, a in arrays.items()}, report)
            parts.append(outputs)
            first += size
            if seconds < _PIECE_SECONDS / 2:
                size = min(2 * size, largest)
        if progress is not None:
            progress("run", images, images)
        return {name: joined(name, [part[name] for part in parts]) for name in parts[0]}, report

    # Private -------------------------------------------------------------------------------
    def _ask_status(self) -> tuple[dict[str, Any], int, float]:
        """What the server says about itself, its limit of a body and the seconds after which it must have answered."""
        answer = self._persist(
            lambda _: self._client.request("GET", STATUS_PATH, seconds=_STATUS_SECONDS), patient=False
        )
        try:
            status = json.loads(answer.body)
            if status["protocol"] != PROTOCOL_VERSION:
                raise DeviceError(
                    f"{self.url}: speaks protocol {status['protocol']!r}, this software {PROTOCOL_VERSION}; update the "
                    "older one"
                )
            limits = status["limits"]
            turns = int(limits["queue"]) + 2
            found = dict(status) | {name: str(status[name]) for name in ("config", "fingerprint")}
            return found, int(limits["body"]), turns * float(limits["run_seconds"]) + _SPARE_SECONDS
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DeviceError(f"{self.url}: is no server of programs (see vta serve)") from None

    def _largest_piece(self, program: Program, outputs: Sequence[str]) -> int:
        """Images that one request may hold, whole batches."""
        tensors = [program.tensors[name] for name in {*program.inputs, *outputs}]
        batch_bytes = sum(int(np.prod(t.shape)) * t.host_dtype.itemsize for t in tensors)
        return max(1, min(_PIECE_BYTES, self._body_limit // 2) // max(batch_bytes, 1)) * program.batch

    def _piece(self, job: _Job, arrays: Arrays, report: RunReport) -> tuple[dict[str, NDArray[Any]], float]:
        """The outputs of some images and the seconds that they took; adds to the report."""
        buffer = io.BytesIO()
        write_arrays(buffer, arrays)
        body = buffer.getvalue()
        self._runs += 1
        what = f"{self.url}: its answer"
        response = self._persist(lambda number: self._try_run(job, body, f"{self._name}-{self._runs}-{number}"))
        try:
            with opened(io.BytesIO(response.body), what) as archive:
                values = json.loads(read_text(archive, REPORT_MEMBER, what, _REPORT_LIMIT))
                outputs = {name: read_member(archive, name, what, _ANSWER_LIMIT) for name in job.outputs}
            _add(report, values)
            return outputs, float(values["seconds"])
        except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DeviceError(f"{what} is damaged: {error}") from None

    def _try_run(self, job: _Job, body: bytes, name: str) -> Response:
        try:
            response = self._ask(job, body, name)
        except Rejected as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._upload(job)
            try:
                response = self._ask(job, body, name)
            except Rejected as again:
                if again.status != HTTPStatus.NOT_FOUND:
                    raise
                raise Again("the server forgot the program as soon as it had it") from None
        if response.headers.get(REQUEST_HEADER.lower()) != name:
            raise DeviceError(f"{self.url}: answered another request than {name}")
        return response

    def _ask(self, job: _Job, body: bytes, name: str) -> Response:
        path, headers = f"{PROGRAMS_PATH}/{job.digest}/run?{job.query}", {REQUEST_HEADER: name}
        return self._client.request("POST", path, chunks(body), len(body), headers=headers, seconds=self._run_seconds)

    def _upload(self, job: _Job) -> None:
        def pieces() -> Iterator[bytes]:
            done = 0
            for piece in chunks(job.file):
                yield piece
                done += len(piece)
                if job.progress is not None:
                    job.progress("upload", done, len(job.file))

        self._client.request("PUT", PROGRAMS_PATH, pieces(), len(job.file), seconds=self._run_seconds)

    def _persist(self, attempt: Callable[[int], T], *, patient: bool = True) -> T:
        """What ``attempt`` gives in the end. Without patience, a server that cannot be reached gets no second try.

        Raises DeviceError after TRIES tries.
        """
        pause = 0.0
        for number in range(TRIES):
            time.sleep(pause)
            try:
                return attempt(number)
            except Unreachable as error:
                reason = f"cannot be reached: {error}"
                if not patient:
                    raise DeviceError(f"{self.url}: {reason}") from None
            except Again as error:
                reason = str(error)
            pause = min(2 * pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        raise DeviceError(f"{self.url}: {reason} (given up after {TRIES} tries)")


@dataclass(frozen=True)
class _Job:
    """What all pieces of a run share."""

    file: bytes
    digest: str
    query: str
    outputs: list[str]
    progress: Progress | None


def _add(report: RunReport, values: Mapping[str, Any]) -> None:
    """Add the report of a piece."""
    report.images += int(values["images"])
    cycles = values["cycles_by_layer"]
    for name, count in cycles.items():
        report.add_cycles(int(count), name)
    if not cycles and values["cycles"] is not None:
        report.add_cycles(int(values["cycles"]))
    for name, count in values["mismatches_by_layer"].items():
        report.add_mismatches(name, int(count))
