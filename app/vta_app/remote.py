"""Running a program on the device of a server, see docs/serve.md."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError, DeviceError
from vta_arch.program import Program
from vta_runtime.evaluators import Evaluator
from vta_runtime.protocol import TOKEN_VARIABLE, read_token
from vta_runtime.remote import Remote

from .inference import Arrays, RunReport, image_classes, make_report, network_inputs, top1_of
from .output import ProgressCallback


def run_on_server(
    program: Program | str | Path,
    x: NDArray[Any] | Arrays,
    *,
    url: str,
    token: str,
    ca_file: Path | None = None,
    labels: NDArray[Any] | None = None,
    limit: int | None = None,
    check: bool = False,
    layers: Sequence[str] = (),
    progress: ProgressCallback | None = None,
    cpu: Evaluator | str | None = None,
) -> RunReport:
    """Run a program over images on the device that a server has, with the results of :func:`vta_app.run` there.

    Args:
        program: a compiled program or the path of one.
        x: the network's input, or a mapping from the names of several.
        url: http://HOST[:PORT] or https://HOST[:PORT] of ``vta serve`` or a board.
        token: the server's.
        ca_file: certificates (PEM) to trust instead of the system's, for a server that signed its own.
        labels: class of each image; gives ``top1``.
        limit: run only that many images, the first ones.
        check: compare every layer with the integer reference. The server does, where the layers' tensors are.
        layers: run only these layers, each alone, and compare them.
        progress: called with "upload" or "run", what is done, and all of it.
        cpu: what runs the nodes that are not on the accelerator; None: onnxruntime if the server has it, or numpy.

    Raises DataError for arrays or options that do not fit, ProgramError for a program that cannot be used there,
    DeviceError when the server cannot be reached or refuses.
    """
    file = _file_of(program)
    loaded = program if isinstance(program, Program) else Program.load(program)
    inputs = network_inputs(loaded, x, limit)
    classes = None if labels is None or layers else image_classes(np.asarray(labels), x, inputs)
    remote = Remote(url, token, ca_file=ca_file)
    start = time.perf_counter()
    outputs, found = remote.run(
        loaded, file, inputs, check=check, layers=layers, cpu=None if cpu is None else str(cpu), progress=progress
    )
    seconds = time.perf_counter() - start
    top1 = None if classes is None else top1_of(outputs[loaded.outputs[0]], classes)
    return make_report(found, loaded.config, remote.url, seconds, top1, outputs)


def server_token(file: Path | None) -> str:
    """The token in ``file``, or in the environment. Raises DataError when there is none."""
    token = os.environ.get(TOKEN_VARIABLE) if file is None else read_token(file)
    if not token:
        raise DataError(f"a server wants its token; give --token-file or set {TOKEN_VARIABLE}")
    return token


def refuse_options(backend: str, given: dict[str, object | None]) -> None:
    """Raise DeviceError that names the first option that is given; the backend has nothing of the kind."""
    name = next((name for name, value in given.items() if value is not None), None)
    if name is not None:
        raise DeviceError(f"backend {backend} takes no {name}; see vta run --help")


def _file_of(program: Program | str | Path) -> bytes:
    """The bytes of a program's file. Raises DataError."""
    if isinstance(program, Program):
        with tempfile.TemporaryDirectory() as folder:
            program.save(Path(folder) / "program.vta")
            return (Path(folder) / "program.vta").read_bytes()
    try:
        return Path(program).read_bytes()
    except OSError as error:
        raise DataError(f"{program}: cannot be read: {error.strerror or error}") from None
