"""How far the tensors of the quantized network are from the float network's: what all layers before them add up to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from vta_arch.layout import rows_of_images

from ..frontend.graph import Graph
from ..frontend.session import open_session, run_session
from .calibrate import batch_size
from .samples import batches
from .scales import decibels
from .simulate import run_as_float, simulated_tensors

SAMPLES = 32
"""Calibration samples that both networks run."""


def prefix_snr(
    model: ModelProto, simulated: ModelProto, inputs: Mapping[str, NDArray[np.generic]], tensors: list[str]
) -> dict[str, float]:
    """Signal of the float ``model`` to its distance from ``simulated``, in dB, of each tensor, over a few samples.

    ``simulated``: what :func:`simulate` makes of ``model``, with all its activations.
    """
    made = simulated_tensors(simulated)
    renamed = {tensor: made[tensor] for tensor in tensors}
    sessions = [
        open_session(model, watched=tensors),
        open_session(run_as_float(simulated), watched=renamed.values()),
    ]
    signal, noise = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    few = {name: array[:SAMPLES] for name, array in inputs.items()}
    size, fixed = batch_size(Graph(model), 2 * tensors)
    for chunk, count in batches(few, size, fixed):
        given = size if fixed else count
        exact, rounded = run_session(sessions[0], tensors, chunk), run_session(sessions[1], [*renamed.values()], chunk)
        for tensor, left, right in zip(tensors, exact, rounded, strict=True):
            values = rows_of_images(left, count, given).astype(np.float64)
            signal[tensor] += float(np.square(values).sum())
            values -= np.asarray(rows_of_images(right, count, given), np.float64)
            noise[tensor] += float(np.square(values, out=values).sum())
    return {tensor: decibels(signal[tensor], noise[tensor]) for tensor in tensors}
