"""Second step: run the float network on the calibration data and keep a histogram of each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from vta_arch.errors import ModelError
from vta_arch.layout import rows_of_images

from ..frontend.graph import Graph
from ..frontend.session import open_session, run_session
from .samples import Samples

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total); total is 0 while nobody knows it."""

BINS = 4096
_BATCH_BYTES = 48 << 20
"""Observed tensors of one batch take at most about this much memory."""
_BATCH_LIMIT = 32


@dataclass
class TensorStats:
    """Streaming histogram of |x| over [0, 2**log_range), which doubles when larger values come."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    negative: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    """Those of ``counts`` that are below zero."""
    log_range: int | None = None
    low: float = math.inf
    high: float = -math.inf
    total: int = 0
    zeros: int = 0
    """Values that are zero exactly; they are in the first bin."""
    unit: float = 1.0
    """What the values counted were multiplied by afterwards."""

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
        flat = values.reshape(-1)
        index = (np.abs(flat) * np.float32(math.ldexp(BINS, -self.log_range))).astype(np.int32)
        np.minimum(index, BINS - 1, out=index)
        self.counts += np.bincount(index, minlength=BINS)
        if low < 0:
            self.negative += np.bincount(index[flat < 0], minlength=BINS)
        self.zeros += values.size - int(np.count_nonzero(values))

    def _grow(self, log_range: int) -> None:
        if self.log_range is None:
            self.log_range = log_range
        while self.log_range < log_range:
            self.counts, self.negative = _halved(self.counts), _halved(self.negative)
            self.log_range += 1

    def centres(self) -> NDArray[np.float64]:
        """The magnitude that each bin stands for."""
        middles: NDArray[np.float64] = (np.arange(BINS, dtype=np.float64) + 0.5) * self.bin_width()
        return middles

    def bin_width(self) -> float:
        """Magnitudes of a bin, from its low end to its high one."""
        return self.unit * math.ldexp(1.0 / BINS, self.log_range or 0)

    def mean_square(self) -> float:
        """Of the values."""
        return float(np.dot(self.centres() ** 2, self.counts)) / max(self.total, 1)

    def multiplied(self, factor: float) -> TensorStats:
        """Of the same tensor multiplied by ``factor``, which is positive."""
        return replace(self, unit=self.unit * factor, low=self.low * factor, high=self.high * factor)


def _halved(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same values in bins of twice the width."""
    return np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, dtype=np.int64)])


def batch_size(graph: Graph, tensors: Collection[str]) -> tuple[int, bool]:
    """Samples to run at once, and whether the network fixes that number."""
    first = graph.shape(graph.inputs[0].name) if graph.inputs else None
    if first and first[0] is not None:
        return first[0], True
    per_sample = sum(4 * math.prod(d or 1 for d in (graph.shape(name) or ())[1:]) for name in tensors)
    return max(1, min(_BATCH_LIMIT, _BATCH_BYTES // max(per_sample, 1))), False


def observe(
    model: ModelProto,
    tensors: list[str],
    samples: Samples,
    progress: Progress | None = None,
    *,
    chunk_by: int | None = None,
) -> dict[str, TensorStats]:
    """Histograms of ``tensors`` while ``model`` runs over all samples, one batch in memory at a time.

    ``chunk_by``: samples of a batch, where the network leaves it open.

    Raises ModelError if the network cannot be run or makes NaN or infinity, DataError for samples that do not fit.
    """
    graph = Graph(model)
    fed = {value.name for value in graph.inputs}
    given = [name for name in tensors if name in fed]
    inner = [name for name in tensors if name not in fed]
    session = open_session(model, watched=inner)
    stats = {name: TensorStats() for name in tensors}
    size, fixed = batch_size(graph, tensors)
    size = size if fixed else chunk_by or size
    done = 0
    for chunk, count in samples.batches(size, fixed):
        results = dict(zip(inner, run_session(session, inner, chunk), strict=True)) if inner else {}
        for name in given:
            results[name] = chunk[name]
        for name in tensors:
            value = rows_of_images(results[name], count, size) if fixed else results[name]
            try:
                stats[name].add(np.asarray(value, dtype=np.float32))
            except ValueError:
                raise ModelError(
                    f"tensor {name!r} becomes NaN or infinite on the calibration data: the float network is broken"
                ) from None
        done += count
        if progress is not None:
            progress("calibrate", done, samples.total)
    return stats
