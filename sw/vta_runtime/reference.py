"""The integer reference: what each layer computes, in numpy, without instructions or tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from vta_arch.numerics import requantize_shift
from vta_arch.program import Layer, Program, channels_first
from vta_arch.requant import RequantParams, requantize

Ints = NDArray[np.integer]
_FLOAT32_EXACT = 1 << 24
_COLUMN_LIMIT = 1 << 24
"""Elements of the unfolded input that are multiplied at a time."""


def unfold(
    x: NDArray[np.floating], kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> NDArray[np.floating]:
    """Windows of a padded image [C, H, W]: a view of shape [C, KH, KW, OH, OW]."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    view = windows[:, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return view.transpose(0, 3, 4, 1, 2)


def _exact_type(weight: Ints, x: Ints) -> np.dtype[np.floating]:
    """A float type in which every partial sum of conv(x, weight) is exact."""
    largest = int(np.abs(weight.astype(np.int64)).reshape(weight.shape[0], -1).sum(axis=1).max(initial=0))
    bound = largest * max(abs(int(x.min(initial=0))), int(x.max(initial=0)))
    return np.dtype(np.float32 if bound < _FLOAT32_EXACT else np.float64)


def convolve(x: Ints, weight: Ints, layer: Layer) -> NDArray[np.int64]:
    """Exact convolution sums: x [N, C, H, W], weight [O, C, KH, KW] -> [N, O, OH, OW].

    A weight of fewer input channels than ``x`` has groups.
    """
    named = layer.attributes
    top, left, bottom, right = named["pads"]
    value = named.get("pad_value", (0,))[0]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    kind = _exact_type(weight, padded)
    if weight.shape[1] < x.shape[1]:
        return _grouped(padded.astype(kind), weight.astype(kind), layer)
    matrix, padded = weight.reshape(weight.shape[0], -1).astype(kind), padded.astype(kind)
    images = []
    for image in padded:
        columns = unfold(image, named["kernel"], named["strides"], named["dilations"])
        height, width = columns.shape[3:]
        step = max(1, _COLUMN_LIMIT // max(1, matrix.shape[1] * width))
        parts = [
            matrix @ columns[:, :, :, first : first + step].reshape(matrix.shape[1], -1)
            for first in range(0, height, step)
        ]
        images.append(np.concatenate(parts, axis=1).reshape(-1, height, width))
    return np.stack(images).astype(np.int64)


def _grouped(padded: NDArray[np.floating], weight: NDArray[np.floating], layer: Layer) -> NDArray[np.int64]:
    """Sums of each group of channels: padded [N, G * I, H, W], weight [G * M, I, KH, KW] -> [N, G * M, OH, OW]."""
    named, depth = layer.attributes, weight.shape[1]
    groups = padded.shape[1] // depth
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    images = []
    for image in padded:
        view = unfold(image, named["kernel"], named["strides"], named["dilations"])
        if weight.shape[:2] == (groups, 1):
            sums = np.einsum("gklhw,gkl->ghw", view, weight[:, 0])
        else:
            columns = view.reshape(groups, depth * weight[0, 0].size, -1)
            sums = kernels.reshape(groups, kernels.shape[1], -1) @ columns
        images.append(sums.reshape(-1, *view.shape[3:]))
    return np.stack(images).astype(np.int64)


def convolve_transposed(x: Ints, weight: Ints, layer: Layer, size: tuple[int, int]) -> NDArray[np.int64]:
    """Exact sums of a transposed convolution: x [N, C, H, W], weight [O, C, KH, KW] -> [N, O, *size].

    The weight is that of a convolution over ``x`` with its values ``strides`` apart; pad_value stands between and
    around them. Each tap adds its products to the outputs that it reaches.
    """
    named, value = layer.attributes, layer.attributes.get("pad_value", (0,))[0]
    (n, channels, *extent), (outputs, depth, *kernel) = x.shape, weight.shape
    groups = channels // depth
    centred = x.astype(np.int64) - value
    kind = _exact_type(weight, centred)
    sources = centred.reshape(n, groups, depth, -1).astype(kind)
    constant = value * weight.astype(np.int64).sum(axis=(1, 2, 3))
    sums = np.broadcast_to(constant[:, None, None], (n, outputs, *size)).copy()
    for tap in np.ndindex(*kernel):
        matrix = weight[:, :, tap[0], tap[1]].reshape(groups, -1, depth).astype(kind)
        made = (matrix @ sources).reshape(n, outputs, *extent).astype(np.int64)
        rows, cols = (_reached(named, axis, tap[axis], extent[axis], size[axis]) for axis in range(2))
        sums[:, :, rows[1], cols[1]] += made[:, :, rows[0], cols[0]]
    return sums


def _reached(named: Mapping[str, tuple[int, ...]], axis: int, tap: int, size: int, made: int) -> tuple[slice, slice]:
    """Along one axis: the inputs whose product with a tap is part of an output, and those outputs."""
    stride, shift = named["strides"][axis], named["pads"][axis] - tap * named["dilations"][axis]
    first = max(0, -(shift // stride))
    last = min(size - 1, (made - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + shift, last * stride + shift + 1, stride)


def _image(layer: Layer, x: Ints) -> Ints:
    """A layer's one input as [N, C, H, W], as the layer sees it."""
    image = channels_first(x)
    return image.reshape(*image.shape[:2], *layer.attributes.get("positions", image.shape[2:]))


def _conv_transpose(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    x = _image(layer, inputs[0])
    height, width = program.tensors[layer.output].nchw[2:]
    weight = program.arrays[layer.arrays["weight"]]
    return _narrow(program, layer, convolve_transposed(x, weight, layer, (height, width)))


def _conv(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    x = _image(layer, inputs[0])
    made = _narrow(program, layer, convolve(x, program.arrays[layer.arrays["weight"]], layer))
    if "pool_kernel" in layer.attributes:
        return _max_pool(layer, made)
    return _add_shortcut(program, layer, made, inputs[1]) if "requant_add" in layer.arrays else made


def _max_pool(layer: Layer, made: NDArray[np.int64]) -> NDArray[np.int64]:
    """The MaxPool that is fused behind a convolution: of its integer outputs [N, C, H, W]."""
    top, left, bottom, right = layer.attributes["pool_pads"]
    least = np.iinfo(np.int64).min
    padded = np.pad(made, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=least)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.attributes["pool_kernel"], axis=(2, 3))
    down, right = layer.attributes["pool_strides"]
    return np.asarray(windows[:, :, ::down, ::right].max(axis=(4, 5)))


def _add_shortcut(program: Program, layer: Layer, made: NDArray[np.int64], shortcut: Ints) -> NDArray[np.int64]:
    """The residual add that is fused behind a convolution: of its integer outputs."""
    of_sum, of_shortcut = layer.attributes["factors"]
    sums = made * of_sum + channels_first(shortcut).astype(np.int64).reshape(made.shape) * of_shortcut
    return _requantized(program, layer.arrays["requant_add"], sums)


def _add(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    factors, shape = zip(inputs, layer.attributes["factors"], strict=True), program.tensors[layer.output].nchw
    left, right = (channels_first(x).astype(np.int64).reshape(shape) * factor for x, factor in factors)
    return _narrow(program, layer, left + right)


def _maxpool(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    """Greatest value of each window; padding is pad_value."""
    named = layer.attributes
    top, left, bottom, right = named["pads"]
    pads = ((0, 0), (0, 0), (top, bottom), (left, right))
    x = _image(layer, inputs[0]).astype(np.int16)
    padded = np.pad(x, pads, constant_values=layer.scalar("pad_value"))
    windows = (unfold(image, named["kernel"], named["strides"], named["dilations"]) for image in padded)
    return _narrow(program, layer, np.stack([view.max(axis=(1, 2)) for view in windows]).astype(np.int64))


def _rectify(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    """max(x, floor) * p + x * q: one slope above the floor, another below."""
    x = _image(layer, inputs[0]).astype(np.int64)
    upper, whole = layer.attributes["factors"]
    return _narrow(program, layer, np.maximum(x, layer.scalar("floor")) * upper + x * whole)


def _select(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    """Channels of the inputs, which follow each other; channel -1 is 0."""
    size = program.tensors[layer.output].nchw[2:]
    parts = [channels_first(x) for x in inputs]
    parts = [part.reshape(*part.shape[:2], *size) for part in parts]
    kind = np.int16  # holds both signed and unsigned inputs
    joined = np.concatenate([part.astype(kind) for part in parts], axis=1)
    channels = program.arrays[layer.arrays["channels"]]
    return _narrow(program, layer, np.where(channels[:, None, None] < 0, 0, joined[:, channels]).astype(np.int64))


def _upsample(program: Program, layer: Layer, inputs: list[Ints]) -> NDArray[np.int64]:
    """Each row and each column repeated."""
    x = _image(layer, inputs[0]).astype(np.int64)
    rows, cols = layer.attributes["factors"]
    return _narrow(program, layer, x.repeat(rows, axis=2).repeat(cols, axis=3))


def _narrow(program: Program, layer: Layer, sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """The layer's outputs from its sums, channels in axis 1 (or one set of parameters for all)."""
    if "requant" in layer.arrays:
        return _requantized(program, layer.arrays["requant"], sums)
    limits = layer.scalar("low"), layer.scalar("high")
    if "shift" in layer.attributes:
        added = layer.scalar("bias") if layer.op == "add" else 0
        return requantize_shift(sums, added, layer.scalar("shift"), *limits)
    bias, shift = (program.arrays[layer.arrays[key]].astype(np.int64).reshape(1, -1, 1, 1) for key in ("bias", "shift"))
    return requantize_shift(sums, bias, shift, *limits)


def _requantized(program: Program, array: str, sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """``sums``, channels in axis 1, requantized with the parameters in ``array``."""
    params = RequantParams.unpack(np.ascontiguousarray(program.arrays[array], "<i4").view(np.uint8))
    return np.moveaxis(requantize(np.moveaxis(sums, 1, -1), params, program.config.acc_width), -1, 1)


OPERATORS: dict[str, Callable[[Program, Layer, list[Ints]], NDArray[np.int64]]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "add": _add,
    "maxpool": _maxpool,
    "rectify": _rectify,
    "select": _select,
    "upsample": _upsample,
}
"""The reference of each operator."""


def run_layer(program: Program, layer: Layer, values: Mapping[str, NDArray[np.generic]]) -> Ints:
    """The layer's output, of its tensor's shape and host type, from the ``values`` of its input tensors."""
    # The compiler looks through reshapes: a value may come in another shape than the tensor's.
    inputs: list[Ints] = [np.asarray(values[name]).reshape(program.tensors[name].shape) for name in layer.inputs]
    output = program.tensors[layer.output]
    made = OPERATORS[layer.op](program, layer, inputs).reshape(output.nchw)
    return output.as_shaped(made).astype(output.host_dtype)
