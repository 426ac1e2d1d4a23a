"""Operators that a partition usually leaves on the CPU, in numpy: for a board that has no onnxruntime.

Each takes its inputs (None for one that is left out) and attributes, and returns its output, as ONNX defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = dict[str, Any]
Operator = Callable[[list[Array | None], Attributes], Array]

_LIMITS = {21: (0, 15, "u1"), 22: (-8, 7, "i1"), 25: (0, 3, "u1"), 26: (-2, 1, "i1"), 2: (0, 255, "u1")}
_LIMITS |= {3: (-128, 127, "i1"), 4: (0, 65535, "u2"), 5: (-32768, 32767, "i2"), 6: (-(2**31), 2**31 - 1, "i4")}
_CASTS = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 12: "u4", 13: "u8"}
_NUMBERS = {np.dtype(kind): number for number, kind in _CASTS.items()}


def _some(value: Array | None) -> Array:
    if value is None:
        raise ValueError("an input that must be there is left out")
    return value


def _along(values: Array, axis: int, rank: int) -> Array:
    """A vector that runs along ``axis`` of a tensor of that rank; a single number stays one."""
    if values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if number == axis % rank else 1 for number in range(rank)])


def quantized_range(inputs: list[Array | None], attributes: Attributes) -> tuple[int, int, str]:
    """Least and greatest value of a QuantizeLinear's result, and its numpy type. Raises KeyError for another type."""
    zero = inputs[2] if len(inputs) > 2 else None
    return _LIMITS[attributes.get("output_dtype", 0) or (2 if zero is None else _NUMBERS[zero.dtype])]


def _quantize(inputs: list[Array | None], attributes: Attributes) -> Array:
    x, scale = _some(inputs[0]), _some(inputs[1])
    zero = inputs[2] if len(inputs) > 2 else None
    low, high, dtype = quantized_range(inputs, attributes)
    axis = attributes.get("axis", 1)
    steps: Array = np.rint(x / _along(scale, axis, x.ndim).astype(x.dtype))
    if zero is not None:
        steps = steps + _along(zero, axis, x.ndim).astype(steps.dtype)
    result: Array = np.clip(steps, low, high).astype(dtype)
    return result


def _dequantize(inputs: list[Array | None], attributes: Attributes) -> Array:
    x, scale = _some(inputs[0]), _some(inputs[1])
    axis, values = attributes.get("axis", 1), x.astype(np.int32)
    if len(inputs) > 2 and inputs[2] is not None:
        values = values - _along(inputs[2], axis, x.ndim).astype(np.int32)
    result: Array = values.astype(scale.dtype) * _along(scale, axis, x.ndim)
    return result


def _softmax(inputs: list[Array | None], attributes: Attributes) -> Array:
    x, axis = _some(inputs[0]), attributes.get("axis", -1)
    powers: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def _reshape(inputs: list[Array | None], attributes: Attributes) -> Array:
    x, shape = _some(inputs[0]), [int(size) for size in _some(inputs[1])]
    if not attributes.get("allowzero", 0):
        shape = [x.shape[number] if size == 0 else size for number, size in enumerate(shape)]
    return x.reshape(shape)


def _flatten(inputs: list[Array | None], attributes: Attributes) -> Array:
    x = _some(inputs[0])
    axis = attributes.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)


def _transpose(inputs: list[Array | None], attributes: Attributes) -> Array:
    return _some(inputs[0]).transpose(attributes.get("perm"))


def _clip(inputs: list[Array | None], attributes: Attributes) -> Array:
    low, high = (inputs[place] if len(inputs) > place else None for place in (1, 2))
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    x = _some(inputs[0])
    return x if low is None and high is None else np.clip(x, low, high).astype(x.dtype)


def _windows(x: Array, attributes: Attributes, fill: Any) -> Array:
    """Windows of the last two axes: [N, C, OH, OW, KH, KW]."""
    kernel = attributes["kernel_shape"]
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if len(kernel) != 2 or attributes.get("ceil_mode", 0) or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError("pooling of two axes with explicit padding and without ceil_mode is known only")
    around = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(x, around, constant_values=fill)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _max_pool(inputs: list[Array | None], attributes: Attributes) -> Array:
    x = _some(inputs[0])
    fill = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    result: Array = _windows(x, attributes, fill).max(axis=(4, 5))
    return result


def _global_average(inputs: list[Array | None], _attributes: Attributes) -> Array:
    x = _some(inputs[0])
    result: Array = x.mean(axis=tuple(range(2, x.ndim)), keepdims=True, dtype=x.dtype)
    return result


def _concat(inputs: list[Array | None], attributes: Attributes) -> Array:
    return np.concatenate([_some(item) for item in inputs], axis=attributes["axis"])


def _pad(inputs: list[Array | None], attributes: Attributes) -> Array:
    mode = attributes.get("mode", "constant")
    if mode != "constant" or (len(inputs) > 3 and inputs[3] is not None):
        raise ValueError("Pad is known with a constant on all axes only")
    x, pads = _some(inputs[0]), [int(size) for size in _some(inputs[1])]
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros((), x.dtype)
    return np.pad(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), constant_values=value.item())


def _cast(inputs: list[Array | None], attributes: Attributes) -> Array:
    return _some(inputs[0]).astype(_CASTS[attributes["to"]])


def _elementwise(function: Callable[..., Any]) -> Operator:
    """An operator of one element each of all its inputs, which broadcast."""
    return lambda inputs, _: np.asarray(function(*map(_some, inputs)))


def _gemm(inputs: list[Array | None], attributes: Attributes) -> Array:
    a, b = _some(inputs[0]), _some(inputs[1])
    a, b = (a.T if attributes.get("transA", 0) else a), (b.T if attributes.get("transB", 0) else b)
    alpha, beta = (a.dtype.type(attributes.get(key, 1.0)) for key in ("alpha", "beta"))
    product: Array = alpha * (a @ b)
    return product if len(inputs) < 3 or inputs[2] is None else product + beta * inputs[2]


OPERATORS: dict[str, Operator] = {
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "Ceil": _elementwise(np.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "DequantizeLinear": _dequantize,
    "Div": _elementwise(np.divide),
    "Flatten": _flatten,
    "Floor": _elementwise(np.floor),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Identity": lambda inputs, _: _some(inputs[0]),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "MatMul": _elementwise(np.matmul),
    "MaxPool": _max_pool,
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Relu": lambda inputs, _: np.maximum(_some(inputs[0]), 0),
    "Reshape": _reshape,
    "Round": _elementwise(np.rint),
    "Softmax": _softmax,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Where": _elementwise(np.where),
}
"""ONNX operator -> function from inputs and attributes to its one output."""
