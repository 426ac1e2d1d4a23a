"""A layer as a matrix product: its input's windows at some positions, by channel groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..frontend.graph import int_attribute, ints_attribute

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Samples of a layer: ``inputs`` [groups, samples, depth], ``outputs`` [groups, samples, channels of a group].

    ``added`` is like ``outputs``: what comes on top of the layer's own result; None: nothing.
    """

    inputs: Floats
    outputs: Floats
    added: Floats | None = None


def sample(
    node: NodeProto,
    weight_shape: tuple[int, ...],
    x: Floats,
    y: Floats,
    count: int,
    rng: np.random.Generator,
    *,
    added: Floats | None = None,
) -> Windows:
    """About ``count`` positions of a Conv's or Gemm's input ``x`` and output ``y``, the same number of each image."""
    if len(weight_shape) == 2:
        return Windows(x[None], y[None], None if added is None else added[None])
    images, channels, height, width = y.shape
    each = min(height * width, max(1, count // images))
    rows, cols = np.divmod(np.stack([rng.permutation(height * width)[:each] for _ in range(images)]), width)
    groups = int_attribute(node, "group", 1)
    strides, dilations = ints_attribute(node, "strides", (1, 1)), ints_attribute(node, "dilations", (1, 1))
    top, left, bottom, right = ints_attribute(node, "pads", (0, 0, 0, 0))
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    at = np.arange(images)[:, None, None, None]
    y_at = (rows * strides[0])[:, :, None, None] + np.arange(weight_shape[2])[:, None] * dilations[0]
    x_at = (cols * strides[1])[:, :, None, None] + np.arange(weight_shape[3]) * dilations[1]
    windows = padded[at, :, y_at, x_at]  # [images, each, kh, kw, channels]
    windows = windows.reshape(images * each, *weight_shape[2:], groups, weight_shape[1])
    inputs = windows.transpose(3, 0, 4, 1, 2).reshape(groups, images * each, -1)

    def taken(tensor: Floats) -> Floats:
        found = tensor[np.arange(images)[:, None], :, rows, cols].reshape(images * each, groups, channels // groups)
        return np.ascontiguousarray(found.transpose(1, 0, 2))

    return Windows(np.ascontiguousarray(inputs), taken(y), None if added is None else taken(added))
