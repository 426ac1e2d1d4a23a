"""What runs the CPU's part of a program."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vta_arch.program import CpuStep, Tensor

from .onnx_external import check_self_contained


class Evaluator(str, Enum):  # noqa: UP042 - boards have Python 3.10
    """What runs CPU subgraphs."""

    ONNXRUNTIME = "onnxruntime"
    """All of ONNX, on all cores."""
    NUMPY = "numpy"
    """A few operators, for boards without onnxruntime."""

    def __str__(self) -> str:
        return self.value


def choose_evaluator() -> tuple[Evaluator, str]:
    """onnxruntime where it can be imported, otherwise numpy; and why, for a person."""
    try:
        import onnxruntime
    except ImportError as error:
        return Evaluator.NUMPY, f"onnxruntime cannot be imported: {' '.join(str(error).split())}"
    return Evaluator.ONNXRUNTIME, f"version {onnxruntime.__version__}"


class Subgraph(Protocol):
    """One CPU step, ready to run."""

    def run(self, values: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Outputs by tensor name, integers in their host type. Raises ProgramError when it fails."""
        ...


def make_subgraph(evaluator: Evaluator, step: CpuStep, tensors: Mapping[str, Tensor]) -> Subgraph:
    """A CPU step for an evaluator, which is imported only here.

    Raises ProgramError when it cannot run it, or when the step's model keeps data in another file.
    """
    check_self_contained(step.model)
    if evaluator is Evaluator.NUMPY:
        from .numpy_cpu import NumpySubgraph

        return NumpySubgraph(step, tensors)
    from .cpu import CpuSubgraph

    return CpuSubgraph(step, tensors)
