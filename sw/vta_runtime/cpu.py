"""Subgraphs that run on the CPU, in onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from vta_arch.errors import ProgramError
from vta_arch.program import CpuStep, Tensor

# What onnxruntime raises for a model that it cannot run; it has no common base class of its own.
_FAILURES = (
    RuntimeError,
    ValueError,
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


class CpuSubgraph:
    """One CPU step, its session built once, on all cores.

    QuantizeLinear and DequantizeLinear are computed as they are defined, never fused with their neighbours.
    Raises ProgramError when onnxruntime refuses the subgraph.
    """

    def __init__(self, step: CpuStep, tensors: Mapping[str, Tensor]) -> None:
        self._inputs = [tensors[name] for name in step.inputs]
        self._outputs = [tensors[name] for name in step.outputs]
        self._nodes = step.nodes
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                step.model,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["Pad_Fusion"],  # it gives pools more padding than onnxruntime then accepts
            )
        except _FAILURES as error:
            raise ProgramError(f"{self._name()}: onnxruntime refuses it: {_line(error)}") from None

    def _name(self) -> str:
        shown = ", ".join(self._nodes[:3]) + (", ..." if len(self._nodes) > 3 else "")
        return f"CPU subgraph ({shown})"

    def run(self, values: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Outputs by tensor name, integers in their host type. Raises ProgramError when it fails."""
        feeds: dict[str, NDArray[Any]] = {}
        for tensor in self._inputs:
            value = values[tensor.name]
            feeds[tensor.port] = value if tensor.port == tensor.name else value.astype(np.float32)
        try:
            results = self._session.run([tensor.port for tensor in self._outputs], feeds)
        except _FAILURES as error:
            raise ProgramError(f"{self._name()}: onnxruntime failed: {_line(error)}") from None
        return {
            tensor.name: self._shaped(tensor, np.asarray(result))
            for tensor, result in zip(self._outputs, results, strict=True)
        }

    def _shaped(self, tensor: Tensor, result: NDArray[np.generic]) -> NDArray[np.generic]:
        if result.size != math.prod(tensor.shape):
            raise ProgramError(
                f"{self._name()}: {tensor.name!r} has the shape {list(result.shape)}, "
                f"the program says {list(tensor.shape)}"
            )
        return result.astype(tensor.host_dtype, copy=False).reshape(tensor.shape)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
