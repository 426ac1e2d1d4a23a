"""Second step: run the float network on the calibration data and keep a histogram of each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from vta_arch.errors import DataError, ModelError

from ..frontend.graph import Graph, copy_model
from ..frontend.session import open_session, run_session

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""

BINS = 4096
_BATCH_BYTES = 48 << 20
"""Observed tensors of one batch take at most about this much memory."""
_BATCH_LIMIT = 32


@dataclass
class TensorStats:
    """Streaming histogram of |x| over [0, 2**log_range), which doubles when larger values come."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    log_range: int | None = None
    low: float = math.inf
    high: float = -math.inf
    total: int = 0

    @property
    def largest(self) -> float:
        """Greatest magnitude seen."""
        return max(-self.low, self.high, 0.0)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values of one batch. Raises ValueError for NaN or infinity."""
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(low + high):
            raise ValueError("not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.total += values.size
        if self.largest == 0.0:
            return
        self._grow(math.frexp(self.largest)[1])
        assert self.log_range is not None
        index = (np.abs(values.reshape(-1)) * np.float32(math.ldexp(BINS, -self.log_range))).astype(np.int32)
        np.minimum(index, BINS - 1, out=index)
        self.counts += np.bincount(index, minlength=BINS)

    def _grow(self, log_range: int) -> None:
        if self.log_range is None:
            self.log_range = log_range
        while self.log_range < log_range:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros(BINS // 2, dtype=np.int64)])
            self.log_range += 1

    def centres(self) -> NDArray[np.float64]:
        """The magnitude that each bin stands for."""
        step = np.float64(math.ldexp(1.0 / BINS, self.log_range or 0))
        middles: NDArray[np.float64] = (np.arange(BINS, dtype=np.float64) + 0.5) * step
        return middles


def calibration_inputs(
    model: ModelProto, data: NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """The calibration array of each network input, cast to what it takes.

    Raises DataError for a wrong shape, type or count, an empty array, NaN or infinity.
    """
    graph = Graph(model)
    if not isinstance(data, Mapping):
        if len(graph.inputs) != 1:
            names = ", ".join(value.name for value in graph.inputs)
            raise DataError(
                f"calibration data: the network has {len(graph.inputs)} inputs ({names}), one array was given"
            )
        data = {graph.inputs[0].name: data}
    missing = [value.name for value in graph.inputs if value.name not in data]
    if missing:
        raise DataError(f"calibration data: no array for input {missing[0]!r}")
    arrays = {value.name: _checked_array(value, data[value.name]) for value in graph.inputs}
    if len({len(array) for array in arrays.values()}) > 1:
        raise DataError("calibration data: the arrays of the inputs differ in length")
    return arrays


def _checked_array(value: onnx.ValueInfoProto, data: NDArray[np.generic]) -> NDArray[np.generic]:
    array, name = np.asarray(data), value.name
    wanted = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    shown = "[N" + "".join(f", {d}" for d in wanted[1:]) + "]"
    if array.dtype.kind not in "fiub":
        raise DataError(f"calibration data for {name!r}: type {array.dtype} is not numeric")
    if array.ndim != len(wanted) or any(
        w is not None and w != d for w, d in zip(wanted[1:], array.shape[1:], strict=True)
    ):
        raise DataError(f"calibration data for {name!r}: shape {list(array.shape)}, the network takes {shown}")
    if array.size == 0:
        raise DataError(
            f"calibration data for {name!r}: empty (shape {list(array.shape)}); at least one sample is needed"
        )
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        raise DataError(f"calibration data for {name!r}: contains NaN or infinity (as {cast.dtype})")
    return cast


def batches(
    inputs: Mapping[str, NDArray[np.generic]], size: int, fixed: bool
) -> Iterator[tuple[dict[str, NDArray[np.generic]], int]]:
    """Slices of ``size`` samples and how many of them count; with a fixed batch the last is filled up."""
    total = len(next(iter(inputs.values())))
    for start in range(0, total, size):
        count = min(size, total - start)
        chunk = {name: array[start : start + count] for name, array in inputs.items()}
        if fixed and count < size:
            chunk = {n: np.concatenate([a, np.repeat(a[-1:], size - count, axis=0)]) for n, a in chunk.items()}
        yield chunk, count


def _batch_size(graph: Graph, tensors: list[str]) -> tuple[int, bool]:
    """Samples to run at once, and whether the network fixes that number."""
    first = graph.shape(graph.inputs[0].name) if graph.inputs else None
    if first and first[0] is not None:
        return first[0], True
    per_sample = sum(4 * math.prod(d or 1 for d in (graph.shape(name) or ())[1:]) for name in tensors)
    return max(1, min(_BATCH_LIMIT, _BATCH_BYTES // max(per_sample, 1))), False


def observe(
    model: ModelProto,
    tensors: list[str],
    inputs: Mapping[str, NDArray[np.generic]],
    progress: Progress | None = None,
    *,
    chunk_by: int | None = None,
) -> dict[str, TensorStats]:
    """Histograms of ``tensors`` while ``model`` runs over all samples, one batch in memory at a time.

    ``chunk_by``: samples of a batch, where the network leaves it open.

    Raises ModelError if the network cannot be run or makes NaN or infinity.
    """
    graph = Graph(model)
    given = [name for name in tensors if name in inputs]
    inner = [name for name in tensors if name not in inputs]
    watched = copy_model(model)
    known = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner if name not in known
    )
    session = open_session(watched)
    stats = {name: TensorStats() for name in tensors}
    size, fixed = _batch_size(graph, tensors)
    size = size if fixed else chunk_by or size
    total, done = len(next(iter(inputs.values()))), 0
    for chunk, count in batches(inputs, size, fixed):
        results = dict(zip(inner, run_session(session, inner, chunk), strict=True)) if inner else {}
        for name in given:
            results[name] = chunk[name]
        for name in tensors:
            value = results[name][:count] if fixed and results[name].ndim else results[name]
            try:
                stats[name].add(np.asarray(value, dtype=np.float32))
            except ValueError:
                raise ModelError(
                    f"tensor {name!r} becomes NaN or infinite on the calibration data: the float network is broken"
                ) from None
        done += count
        if progress is not None:
            progress("calibrate", done, total)
    return stats
