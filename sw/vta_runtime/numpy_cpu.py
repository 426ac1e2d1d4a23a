"""Subgraphs that run on the CPU with numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import ProgramError
from vta_arch.program import CpuStep, Program, Tensor

from .numpy_ops import OPERATORS
from .onnx_file import Node, read_model

SINCE_OPSET = 13
"""Operators are those of this opset and later ones, in which the known ones mean the same."""


class NumpySubgraph:
    """One CPU step, with the same calls as :class:`vta_runtime.cpu.CpuSubgraph`.

    Raises ProgramError, naming the node, for an operator that is not known.
    """

    def __init__(self, step: CpuStep, tensors: Mapping[str, Tensor]) -> None:
        self._inputs = [tensors[name] for name in step.inputs]
        self._outputs = [tensors[name] for name in step.outputs]
        self._model = read_model(step.model)
        for node in self._model.nodes:
            _check(node, self._model.opset)

    def run(self, values: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Outputs by tensor name, integers in their host type. Raises ProgramError when it fails."""
        env: dict[str, NDArray[Any]] = dict(self._model.constants)
        for tensor in self._inputs:
            value = values[tensor.name]
            env[tensor.port] = value if tensor.port == tensor.name else value.astype(np.float32)
        for node in self._model.nodes:
            inputs = [env[name] if name else None for name in node.inputs]
            try:
                env[node.outputs[0]] = OPERATORS[node.op_type](inputs, node.attributes)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise ProgramError(f"{_named(node)}: numpy failed: {error}") from None
        return {tensor.name: _shaped(tensor, env[tensor.port]) for tensor in self._outputs}


def _named(node: Node) -> str:
    return f"node {node.name or node.outputs[0]!r} ({node.op_type})"


def _check(node: Node, opset: int) -> None:
    if node.op_type not in OPERATORS or len([name for name in node.outputs if name]) != 1:
        raise ProgramError(
            f"{_named(node)}: the CPU evaluator in numpy does not know it; it knows {', '.join(OPERATORS)}; "
            "use onnxruntime"
        )
    if opset < SINCE_OPSET:
        raise ProgramError(
            f"{_named(node)}: the CPU evaluator in numpy needs opset {SINCE_OPSET} or later, not {opset}"
        )


def _shaped(tensor: Tensor, result: NDArray[Any]) -> NDArray[np.generic]:
    if result.size != math.prod(tensor.shape):
        raise ProgramError(
            f"CPU subgraph: {tensor.name!r} has the shape {list(result.shape)}, the program says {list(tensor.shape)}"
        )
    return result.astype(tensor.host_dtype, copy=False).reshape(tensor.shape)


def check_numpy(program: Program) -> None:
    """Raise ProgramError, naming the node, unless numpy can run all CPU steps of a program."""
    for step in program.steps:
        if isinstance(step, CpuStep):
            NumpySubgraph(step, program.tensors)
