"""Runs programs on a device, in the worker process: one job after the other.

A job and its reply are JSON objects; tensors lie in files that they name.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.errors import DataError, ProgramError, VTAError
from vta_arch.program import Program
from vta_runtime.array_files import read_arrays, write_arrays
from vta_runtime.device import Device
from vta_runtime.evaluators import Evaluator, choose_evaluator
from vta_runtime.executor import Executor
from vta_runtime.protocol import REPORT_MEMBER

DeviceFactory = Callable[[VTAConfig], Device]
"""Opens the device of a configuration. A module's function (or a partial of one): it is called in another process."""


class JobRunner:
    """Keeps the device and the last program between jobs.

    A device's memory is handed out once, so every program gets the device anew; so does the job after a failure.
    """

    def __init__(self, factory: DeviceFactory, config: VTAConfig) -> None:
        """Opens the device. Raises DeviceError when that fails."""
        self._factory, self._config = factory, config
        self._best, _ = choose_evaluator()
        self._device: Device | None = factory(config)
        self._executor: Executor | None = None
        self._loaded: tuple[str, str] | None = None

    def close(self) -> None:
        """Release the device."""
        device, self._device, self._executor, self._loaded = self._device, None, None, None
        if device is not None:
            device.close()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The reply: ``{}`` when the outputs are in the job's file, or the error and its kind."""
        try:
            self._run(job)
        except DataError as error:
            return {"kind": "data", "error": str(error)}
        except ProgramError as error:
            self.close()
            return {"kind": "program", "error": str(error)}
        except VTAError as error:
            self.close()
            return {"kind": "device", "error": str(error)}
        except OSError as error:
            self.close()
            return {"kind": "storage", "error": f"the server cannot keep the tensors: {error.strerror or error}"}
        except MemoryError:
            self.close()
            return {
                "kind": "memory",
                "error": "not enough memory for this program and these tensors; send fewer images",
            }
        return {}

    def _run(self, job: dict[str, Any]) -> None:
        executor = self._prepared(job)
        inputs = read_arrays(Path(job["inputs"]), executor.program.inputs, "inputs", job["limit"])
        start = time.perf_counter()
        outputs = executor.run(inputs, check=job["check"], layers=job["layers"] or None)
        seconds = time.perf_counter() - start
        size = sum(value.nbytes for value in outputs.values())
        if size > job["limit"]:
            raise DataError(f"outputs of {size} bytes are too large (limit {job['limit']}); send fewer images at once")
        report = {**vars(executor.report), "seconds": round(seconds, 6), "cpu": str(self._evaluator(job))}
        with Path(job["outputs"]).open("wb") as file:
            write_arrays(file, outputs, {REPORT_MEMBER: json.dumps(report)})

    def _prepared(self, job: dict[str, Any]) -> Executor:
        cpu = self._evaluator(job)
        wanted = (job["program"], str(cpu))
        if self._executor is None or self._loaded != wanted:
            if self._loaded is not None:
                self.close()
            program = Program.load(job["path"])
            if self._device is None:
                self._device = self._factory(self._config)
            self._executor, self._loaded = Executor(program, self._device, cpu=cpu), wanted
        return self._executor

    def _evaluator(self, job: dict[str, Any]) -> Evaluator:
        """What runs CPU subgraphs: what the job says, otherwise the best that is here."""
        return Evaluator(job["cpu"]) if job["cpu"] else self._best


def check_sizes(program: Program, limit: int) -> None:
    """Raise DataError when one of a program's tensors takes more than ``limit`` bytes."""
    for tensor in program.tensors.values():
        size = math.prod(tensor.shape) * tensor.host_dtype.itemsize
        if size > limit:
            raise DataError(f"program's tensor {tensor.name!r} takes {size} bytes, the server's limit is {limit}")
