"""The weight of a ConvTranspose, [in, out / groups, ...], as that of a Conv, [out, in / groups, ...], and back."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)


def output_first(weight: NDArray[Element], groups: int) -> NDArray[Element]:
    """[in, out / groups, ...] -> [out, in / groups, ...]; the kernel stays as it is."""
    inputs, outputs, *kernel = weight.shape
    split = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    return np.ascontiguousarray(split.reshape(groups * outputs, inputs // groups, *kernel))


def input_first(weight: NDArray[Element], groups: int) -> NDArray[Element]:
    """[out, in / groups, ...] -> [in, out / groups, ...]."""
    return output_first(weight, groups)
