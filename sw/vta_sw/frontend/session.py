"""onnxruntime sessions whose failures are one-line errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from vta_arch.errors import ModelError

from .light import KEPT_ELEMENTS, light_copy

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_TWO_BITS = (TensorProto.INT2, TensorProto.UINT2)
"""Types for which onnxruntime's optimizations make operators that do not take them."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _apart(model: ModelProto, more: Iterable[TensorProto]) -> tuple[ModelProto, dict[str, NDArray[np.generic]]]:
    """The model, also with the constants ``more``; and its large constants, which it only refers to.

    A file in memory with all of them would be written, read, and copied once more.
    """
    light = light_copy(model)
    del light.graph.input[len(model.graph.input) :]
    known = {tensor.name for tensor in light.graph.initializer}
    apart = {}
    for tensor in (*(item for item in model.graph.initializer if item.name not in known), *more):
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) <= KEPT_ELEMENTS:
            light.graph.initializer.append(tensor)
            continue
        apart[tensor.name] = numpy_helper.to_array(tensor)
        light.graph.initializer.add(
            name=tensor.name,
            dims=tensor.dims,
            data_type=tensor.data_type,
            data_location=TensorProto.EXTERNAL,
            external_data=[StringStringEntryProto(key="location", value="memory")],
        )
    return light, apart


def open_session(
    model: ModelProto, *, exact: bool = False, constants: Iterable[TensorProto] = (), watched: Iterable[str] = ()
) -> Any:
    """An onnxruntime session on the CPU. Raises ModelError if the model cannot be run.

    ``constants``: those that the model reads and does not have itself.
    ``watched``: float tensors that become outputs, besides the model's own.
    ``exact``: without graph optimizations, so that a QDQ model computes its float operators
    instead of kernels that may saturate between products.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
    if exact or any(tensor.data_type in _TWO_BITS for tensor in model.graph.initializer):
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    light, apart = _apart(model, constants)
    known = {value.name for value in light.graph.output}
    more = (name for name in watched if name not in known)
    light.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in apart.values()]
    options.add_external_initializers(list(apart), values)
    try:
        session: Any = ort.InferenceSession(
            light.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["Pad_Fusion"],  # it gives pools more padding than onnxruntime then accepts
        )
    except _FAILURES as error:
        raise ModelError(f"the network cannot be run in onnxruntime: {_one_line(error)}") from None
    session.constants = values  # it reads them where they are, and does not keep them alive
    return session


def run_session(
    session: Any, outputs: Sequence[str], inputs: Mapping[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """Values of ``outputs`` for one batch. Raises ModelError if the run fails."""
    try:
        return list(session.run(list(outputs), dict(inputs)))
    except _FAILURES as error:
        raise ModelError(f"the network fails in onnxruntime: {_one_line(error)}") from None
