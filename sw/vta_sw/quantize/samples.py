"""Calibration samples: arrays, or batches that come one after the other, in the sizes that a network is run with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper
from vta_arch.errors import DataError

from ..frontend.graph import Graph

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]
Calibration = Array | Arrays | Iterable[Array | Arrays]
"""Samples [n, ...] of a network with one input, or of each input by name; or an iterable of such batches."""


def calibration_inputs(model: ModelProto, data: Array | Arrays, what: str = "calibration data") -> dict[str, Array]:
    """The array of each network input, cast to what it takes; errors speak of it as ``what``.

    Raises DataError for a wrong shape, type or count, an empty array, NaN or infinity.
    """
    graph = Graph(model)
    if not isinstance(data, Mapping):
        if len(graph.inputs) != 1:
            names = ", ".join(value.name for value in graph.inputs)
            raise DataError(f"{what}: the network has {len(graph.inputs)} inputs ({names}), one array was given")
        data = {graph.inputs[0].name: data}
    missing = [value.name for value in graph.inputs if value.name not in data]
    if missing:
        raise DataError(f"{what}: no array for input {missing[0]!r}")
    arrays = {value.name: _checked_array(value, data[value.name], what) for value in graph.inputs}
    if len({len(array) for array in arrays.values()}) > 1:
        raise DataError(f"{what}: the arrays of the inputs differ in length")
    return arrays


def _checked_array(value: onnx.ValueInfoProto, data: Array, what: str) -> Array:
    name = value.name
    try:
        array = np.asarray(data)
    except ValueError:
        raise DataError(f"{what} for {name!r}: a {type(data).__name__} is no array; give one") from None
    wanted = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    shown = "[N" + "".join(f", {d}" for d in wanted[1:]) + "]"
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} for {name!r}: type {array.dtype} is not numeric")
    if array.ndim != len(wanted) or any(
        w is not None and w != d for w, d in zip(wanted[1:], array.shape[1:], strict=True)
    ):
        raise DataError(f"{what} for {name!r}: shape {list(array.shape)}, the network takes {shown}")
    if array.size == 0:
        raise DataError(f"{what} for {name!r}: empty (shape {list(array.shape)}); at least one sample is needed")
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        raise DataError(f"{what} for {name!r}: contains NaN or infinity (as {cast.dtype})")
    return cast


def batches(inputs: Arrays, size: int, fixed: bool) -> Iterator[tuple[dict[str, Array], int]]:
    """Slices of ``size`` samples and how many of them count; with a fixed batch the last is filled up."""
    total = count_of(inputs)
    for start in range(0, total, size):
        count = min(size, total - start)
        chunk = {name: array[start : start + count] for name, array in inputs.items()}
        if fixed and count < size:
            chunk = {n: np.concatenate([a, np.repeat(a[-1:], size - count, axis=0)]) for n, a in chunk.items()}
        yield chunk, count


def count_of(inputs: Arrays) -> int:
    """Samples in arrays of one length."""
    return len(next(iter(inputs.values())))


class Samples:
    """Samples of a network, to be gone through once.

    Arrays are looked at where they are. Of an iterable one batch at a time is in memory, and of what it gives the
    first ``keep`` samples stay, for those who need samples again.
    """

    def __init__(self, model: ModelProto, data: Calibration, *, keep: int) -> None:
        """Raises DataError for arrays that the network does not take; for batches that happens when they come."""
        self._model, self._keep = model, keep
        self._parts: Iterable[Array | Arrays] | None = None
        self.kept: dict[str, Array] = {}
        """Arrays: all samples. An iterable: the first ones of those that were gone through."""
        self.total = 0
        """Samples in all; 0 while nobody knows."""
        if isinstance(data, np.ndarray | Mapping) or hasattr(data, "__array__"):
            self.kept = calibration_inputs(model, data)  # type: ignore[arg-type]
            self.total = count_of(self.kept)
        else:
            self._parts = data

    def batches(self, size: int, fixed: bool) -> Iterator[tuple[dict[str, Array], int]]:
        """As :func:`batches`, over all samples. Raises DataError for a batch that does not fit, or if none comes."""
        if self._parts is None:
            yield from batches(self.kept, size, fixed)
            return
        rest: dict[str, Array] = {}
        for part in self._parts:
            arrays = calibration_inputs(self._model, part)
            self._remember(arrays)
            joined = {name: np.concatenate([rest[name], a]) if rest else a for name, a in arrays.items()}
            whole = count_of(joined) // size * size
            yield from batches({name: array[:whole] for name, array in joined.items()}, size, fixed)
            rest = {name: array[whole:] for name, array in joined.items()}
        if not rest:
            raise DataError("calibration data: the iterable gave no batch; an iterator can be used only once")
        yield from batches(rest, size, fixed)

    def _remember(self, arrays: Arrays) -> None:
        room = self._keep - (count_of(self.kept) if self.kept else 0)
        if room > 0:
            head = {name: array[:room] for name, array in arrays.items()}
            self.kept = {n: np.concatenate([self.kept[n], a]) if self.kept else a.copy() for n, a in head.items()}
