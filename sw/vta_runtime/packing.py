"""Gathers the windows of a tensor into channels (see :mod:`vta_arch.packing`), in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vta_arch.packing import PackStep
from vta_arch.program import Tensor


def pack_windows(step: PackStep, source: NDArray[np.generic], packed: Tensor) -> NDArray[np.generic]:
    """The tensor ``packed`` from ``source`` [N, C, H, W], of its type.

    Channels stand together in memory: the result is a view of an array [N, H', W', channels].
    """
    images, channels, *_ = source.shape
    height, width = packed.shape[2:]
    padded = _padded(step, source, packed)
    by_image, by_row, by_col, by_channel = padded.strides
    windows = np.lib.stride_tricks.as_strided(
        padded,
        (images, height, width, *step.window, channels),
        (
            by_image,
            by_row * step.strides[0],
            by_col * step.strides[1],
            by_row * step.dilations[0],
            by_col * step.dilations[1],
            by_channel,
        ),
        writeable=False,
    )
    return windows.reshape(images, height, width, -1).transpose(0, 3, 1, 2)


def _padded(step: PackStep, source: NDArray[np.generic], packed: Tensor) -> NDArray[np.generic]:
    """What lies under the windows: [N, rows, columns, C], ``step.value`` outside the source."""
    rows, cols = step.spans(packed.shape)
    images, channels, height, width = source.shape
    top, left = step.before
    padded = np.full((images, rows, cols, channels), step.value, packed.host_dtype)
    inside = padded[:, top : top + height, left : left + width]
    inside[...] = source.transpose(0, 2, 3, 1)[:, : inside.shape[1], : inside.shape[2]]
    return padded
