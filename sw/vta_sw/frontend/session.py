"""onnxruntime sessions whose failures are one-line errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from vta_arch.errors import ModelError

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def open_session(model: ModelProto, *, exact: bool = False) -> Any:
    """An onnxruntime session on the CPU. Raises ModelError if the model cannot be run.

    ``exact``: without graph optimizations, so that a QDQ model computes its float operators
    instead of kernels that may saturate between products.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
    if exact:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["Pad_Fusion"],  # it gives pools more padding than onnxruntime then accepts
        )
    except _FAILURES as error:
        raise ModelError(f"the network cannot be run in onnxruntime: {_one_line(error)}") from None


def run_session(
    session: Any, outputs: Sequence[str], inputs: Mapping[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """Values of ``outputs`` for one batch. Raises ModelError if the run fails."""
    try:
        return list(session.run(list(outputs), dict(inputs)))
    except _FAILURES as error:
        raise ModelError(f"the network fails in onnxruntime: {_one_line(error)}") from None
