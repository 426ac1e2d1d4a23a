"""Packed tensors: the windows that a convolution's outputs see, gathered into channels by the CPU.

A convolution of few input channels leaves most of a vector empty. In a packed tensor [N, rows * cols * C, H', W'] the
channels are the values of a window of ``rows`` x ``cols`` positions of the source [N, C, H, W]:

    packed[n, (r * cols + q) * C + c, y, x] = source[n, c, y * strides[0] + r * dilations[0] - before[0],
                                                           x * strides[1] + q * dilations[1] - before[1]]

and ``value`` where that is outside the source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_LIMIT = 1 << 16
"""Most that a size, stride, dilation or padding of a window can be."""
_PADDED_FACTOR = 8
"""A padded source may be as many times larger than source and packed tensor."""


@dataclass(frozen=True)
class PackStep:
    """A step on the CPU that gathers the windows of tensor ``input`` into tensor ``output`` (see this module)."""

    input: str
    output: str
    window: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    value: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that the step reads."""
        return (self.input,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensors that the step makes."""
        return (self.output,)

    def spans(self, packed: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the padded source under the windows of a packed tensor of shape ``packed``."""
        rows, cols = (
            (count - 1) * stride + (size - 1) * dilation + 1
            for count, stride, size, dilation in zip(packed[2:], self.strides, self.window, self.dilations, strict=True)
        )
        return rows, cols


def is_compact(step: PackStep, source: tuple[int, ...], packed: tuple[int, ...]) -> bool:
    """Whether the padded source is not much larger than the tensors: it is made while packing."""
    padded = source[0] * source[1] * math.prod(step.spans(packed))
    return padded <= _PADDED_FACTOR * (math.prod(source) + math.prod(packed)) + WINDOW_LIMIT
