"""How a network and its quantized form classify the same data, in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import DataError
from vta_arch.layout import rows_of_images
from vta_runtime.array_arguments import array_keys, read_array, read_inputs, split_key

if TYPE_CHECKING:
    from onnx import ModelProto

CHUNK = 50
"""Samples that run at once where the network leaves it open."""

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class TestData:
    """Inputs of a network by name, samples first, and the class of each sample where it is known."""

    inputs: Mapping[str, NDArray[Any]]
    labels: Classes | None

    __test__ = False

    @property
    def count(self) -> int:
        """Samples."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Comparison:
    """Percent of the samples: right ones of each network (None without labels), and those of the same class."""

    samples: int
    float_top1: float | None
    top1: float | None
    same: float

    @property
    def score(self) -> float:
        """What is to be as high as possible: top-1 where labels are known, otherwise the same class."""
        return self.same if self.top1 is None else self.top1

    @property
    def lost(self) -> float:
        """Points that the quantized network has lost to the float one."""
        return (100.0 if self.float_top1 is None else self.float_top1) - self.score


def read_test_data(argument: str, labels: str | None, model: ModelProto, limit: int | None = None) -> TestData:
    """Samples from ``FILE.npz[:KEY]`` and labels from ``FILE.npz[:KEY]``, or from the key y of the first if it has it.

    Raises DataError for what cannot be read, or does not fit ``model``.
    """
    from vta_sw.quantize import calibration_inputs

    names = [value.name for value in model.graph.input]
    path, _ = split_key(argument, "x")
    inputs = calibration_inputs(model, read_inputs(argument, names), "data")
    classes = None
    if labels is not None or "y" in array_keys(path):
        classes = read_array(labels or f"{path}:y", "y")
        count = len(next(iter(inputs.values())))
        if classes.shape != (count,) or classes.dtype.kind not in "biu":
            raise DataError(
                f"labels are {classes.dtype} of shape {list(classes.shape)}; expected a whole number for each of "
                f"{count} samples"
            )
    return TestData(
        {name: array[:limit] for name, array in inputs.items()},
        None if classes is None else classes[:limit].astype(np.int64),
    )


def first_output(model: ModelProto, inputs: Mapping[str, NDArray[Any]], *, exact: bool = True) -> NDArray[np.float32]:
    """What a prepared ``model`` makes of all samples, [samples, values]. Raises ModelError.

    ``exact``: without onnxruntime's optimizations, which only QDQ networks need.
    """
    from vta_sw.frontend import Graph, open_session, run_session
    from vta_sw.quantize.samples import batches

    graph = Graph(model)
    session, output = open_session(model, exact=exact), graph.output_names[0]
    fixed = (graph.shape(graph.inputs[0].name) or (None,))[0]
    found = [
        rows_of_images(run_session(session, [output], chunk)[0], count, fixed or count).reshape(count, -1)
        for chunk, count in batches(inputs, fixed or CHUNK, fixed is not None)
    ]
    return np.concatenate(found).astype(np.float32)


def top_classes(model: ModelProto, inputs: Mapping[str, NDArray[Any]]) -> Classes:
    """The class of each sample: where the first output of a prepared ``model`` is largest. Raises ModelError."""
    classes: Classes = first_output(model, inputs).argmax(1)
    return classes


def compare(expected: Classes, found: Classes, labels: Classes | None) -> Comparison:
    """The classes of the float network beside those of the quantized one."""
    return Comparison(
        samples=len(found),
        float_top1=None if labels is None else share(expected, labels),
        top1=None if labels is None else share(found, labels),
        same=share(found, expected),
    )


def share(found: Classes, wanted: Classes) -> float:
    """Percent of the samples in which both agree."""
    return float((found == wanted).mean() * 100)
