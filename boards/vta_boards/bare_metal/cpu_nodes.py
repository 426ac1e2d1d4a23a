"""CPU subgraphs as C: the operators that give the same bits on every processor.

Sums of many floats and exponentials are not among them: their bits depend on the order of the terms and on the library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import ProgramError
from vta_arch.program import INTEGER_TYPES, CpuStep, Tensor
from vta_runtime.numpy_cpu import SINCE_OPSET
from vta_runtime.numpy_ops import OPERATORS, quantized_range
from vta_runtime.onnx_file import Node, read_model

from .c_text import comment, numbers
from .values import Body, Value

MAX_RANK = 6
"""Most dimensions of a tensor that an operator moves about."""
_FLOAT, _BYTES = ("float32",), ("int8", "uint8")
_ANY = (*_FLOAT, *_BYTES)


class _Refused(Exception):
    """Why a node has no form in C."""


def write_cpu_step(body: Body, step: CpuStep, tensors: Mapping[str, Tensor], values: dict[str, Value]) -> None:
    """Statements of a CPU step; its outputs are added to ``values``.

    Raises ProgramError, naming the node and its operator, for one that has no form in C.
    """
    model = read_model(step.model)
    if model.opset < SINCE_OPSET:
        raise ProgramError(f"CPU subgraph of opset {model.opset}: exported C needs {SINCE_OPSET} or later")
    env = {name: _known(array) for name, array in model.constants.items()}
    for name in step.inputs:
        env[tensors[name].port] = _entering(body, tensors[name], values[name])
    for node in model.nodes:
        try:
            env[node.outputs[0]] = _write(body, node, [env[name] if name else None for name in node.inputs])
        except _Refused as reason:
            raise ProgramError(
                f"node {node.name or node.outputs[0]!r} ({node.op_type}): {reason}; compile with --offload all, cut "
                "the network there, or export with --integers all to leave the CPU's operators at the borders out"
            ) from None
    for name in step.outputs:
        values[name] = _leaving(body, tensors[name], env[tensors[name].port])


def _known(array: NDArray[Any]) -> Value:
    return Value("", array.dtype, array.shape, array)


def _entering(body: Body, tensor: Tensor, value: Value) -> Value:
    """A tensor as its subgraph takes it: below 8 bits as floats."""
    if tensor.port == tensor.name:
        return value
    result = body.buffer(np.dtype(np.float32), value.shape, f"{tensor.name} as float")
    scales = _scales(body, value.size, np.float32(1), np.int32(0), value.shape, 0)
    signed = int(value.kind == "int8")
    body.add(f"vta_dequantize({scales}, {body.expression(value)}, {signed}, {result.text});")
    return result


def _leaving(body: Body, tensor: Tensor, value: Value) -> Value:
    """A subgraph's output as the tensor, of its shape."""
    if tensor.port != tensor.name:
        width, signed = INTEGER_TYPES[tensor.dtype]
        low = -(1 << (width - 1)) if signed else 0
        result = body.buffer(tensor.host_dtype, tensor.shape, tensor.name)
        scales = _scales(body, value.size, np.float32(1), np.int32(0), value.shape, 0)
        source = body.expression(value)
        body.add(f"vta_quantize({scales}, {source}, {result.text}, {low}, {low + (1 << width) - 1});")
        return result
    if value.dtype != tensor.host_dtype or value.size != math.prod(tensor.shape):
        raise ProgramError(
            f"CPU subgraph: {tensor.name!r} is {value.kind} {list(value.shape)}, not as the program says"
        )
    return Value(value.text, value.dtype, tensor.shape, value.constant)


def _write(body: Body, node: Node, inputs: list[Value | None]) -> Value:
    """One node: what numpy finds of its result's type and shape, and the statement that computes it."""
    if node.op_type not in OPERATORS or len([name for name in node.outputs if name]) != 1:
        raise _Refused(_unknown())
    given = [value for value in inputs if value is not None]
    known = all(value.constant is not None for value in given)
    if not known and node.op_type not in _WRITERS:
        raise _Refused(_unknown())
    samples = [None if v is None else np.zeros(v.shape, v.dtype) if v.constant is None else v.constant for v in inputs]
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(OPERATORS[node.op_type](samples, node.attributes))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _Refused(f"numpy fails: {error}") from None
    if known:
        return _known(result)
    if not result.size or result.ndim > MAX_RANK:
        raise _Refused(f"its result {list(result.shape)} must have elements and at most {MAX_RANK} dimensions")
    body.add(comment(f"{node.op_type} {node.name or node.outputs[0]}"))
    return _WRITERS[node.op_type](body, node, inputs, result.dtype, result.shape)


def _unknown() -> str:
    return f"exported C has no such operator; it has {', '.join(sorted(_WRITERS))}"


Inputs = list[Value | None]
Writer = Callable[[Body, Node, Inputs, np.dtype[Any], tuple[int, ...]], Value]


def _need(value: Value | None, kinds: tuple[str, ...]) -> Value:
    if value is None or value.kind not in kinds:
        raise _Refused(f"exported C knows it for {' and '.join(kinds)}, not for {value.kind if value else 'nothing'}")
    return value


def _fixed(inputs: Inputs, place: int) -> NDArray[Any] | None:
    """The constant that an input is; None where it is left out."""
    value = inputs[place] if len(inputs) > place else None
    if value is not None and value.constant is None:
        raise _Refused(f"its input {place} must be constant")
    return None if value is None else value.constant


def _scales(body: Body, size: int, scale: Any, zero: Any, shape: tuple[int, ...], axis: int) -> str:
    """A compound literal of vta_scales. ``scale`` is one number or one for each index of ``axis``."""
    scale = np.asarray(scale, np.float32).reshape(-1)
    zero = np.broadcast_to(np.asarray(zero, np.int32).reshape(-1), scale.shape)
    inner = math.prod(shape[axis % len(shape) + 1 :]) if scale.size > 1 else 1
    arrays = f"{body.constant(scale)}, {body.constant(np.ascontiguousarray(zero))}"
    return f"&(const vta_scales){{{size}, {scale.size}, {inner}, {arrays}}}"


def _affine(body: Body, node: Node, inputs: Inputs, value: Value) -> str:
    scale, zero = _fixed(inputs, 1), _fixed(inputs, 2)
    if scale is None or scale.dtype != np.float32 or scale.ndim > 1 or not (np.isfinite(scale) & (scale > 0)).all():
        raise _Refused("its scale must be positive float32, one number or one for each index of an axis")
    axis = node.attributes.get("axis", 1)
    return _scales(body, value.size, scale, 0 if zero is None else zero, value.shape, int(axis))  # type: ignore[arg-type]


def _quantize(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value = _need(inputs[0], _FLOAT)
    if dtype.name not in _BYTES:
        raise _Refused(f"exported C quantizes to 8 bits and less, not to {dtype.name}")
    scales = _affine(body, node, inputs, value)
    low, high, _ = quantized_range([None if v is None else v.constant for v in inputs], node.attributes)
    result = body.buffer(dtype, shape, node.outputs[0])
    body.add(f"vta_quantize({scales}, {body.expression(value)}, {result.text}, {low}, {high});")
    return result


def _dequantize(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value = _need(inputs[0], _BYTES)
    scales = _affine(body, node, inputs, value)
    result = body.buffer(dtype, shape, node.outputs[0])
    body.add(f"vta_dequantize({scales}, {body.expression(value)}, {int(value.kind == 'int8')}, {result.text});")
    return result


def _same(_body: Body, _node: Node, inputs: Inputs, _dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value = _need(inputs[0], _ANY)
    return Value(value.text, value.dtype, shape, value.constant)


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Strides in elements of a contiguous array."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _spread(shape: tuple[int, ...], over: tuple[int, ...]) -> list[int]:
    """Strides of an array of ``shape`` that is broadcast over another shape."""
    steps = [0 if size == 1 else step for size, step in zip(shape, _steps(shape), strict=True)]
    return [0] * (len(over) - len(shape)) + steps


def _binary(name: str) -> Writer:
    def write(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
        values = [_need(value, _FLOAT) for value in inputs]
        operands = ", ".join(f"{body.expression(v)}, {numbers(_spread(v.shape, shape))}" for v in values)
        result = body.buffer(dtype, shape, node.outputs[0])
        body.add(f"vta_binary({name}, {len(shape)}, {numbers(shape)}, {operands}, {result.text});")
        return result

    return write


def _unary(name: str) -> Writer:
    def write(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
        value = _need(inputs[0], _FLOAT)
        result = body.buffer(dtype, shape, node.outputs[0])
        body.add(f"vta_unary({name}, {result.size}, {value.text}, {result.text});")
        return result

    return write


def _clip(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value = _need(inputs[0], _FLOAT)
    result = body.buffer(dtype, shape, node.outputs[0])
    bounds = [_fixed(inputs, place) for place in (1, 2)]
    texts = ["NULL" if bound is None else body.constant(bound.reshape(1)) for bound in bounds]
    body.add(f"vta_clip({result.size}, {value.text}, {', '.join(texts)}, {result.text});")
    return result


def _copy(body: Body, source: Value, steps: list[int], shape: tuple[int, ...], target: str, to: list[int]) -> None:
    box = f"{source.dtype.itemsize}, {len(shape)}, {numbers(shape)}"
    body.add(f"vta_copy({box}, {body.expression(source)}, {numbers(steps)}, {target}, {numbers(to)});")


def _transpose(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value = _need(inputs[0], _ANY)
    steps = np.array(_steps(value.shape)).reshape(-1)
    order = node.attributes.get("perm", range(len(shape))[::-1])
    result = body.buffer(dtype, shape, node.outputs[0])
    _copy(body, value, steps[list(order)].tolist(), shape, result.text, _steps(shape))  # type: ignore[arg-type]
    return result


def _concat(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    values = [_need(value, (dtype.name,) if dtype.name in _ANY else _ANY) for value in inputs]
    result = body.buffer(dtype, shape, node.outputs[0])
    axis, at = int(node.attributes["axis"]) % len(shape), 0  # type: ignore[arg-type]
    for value in values:
        start = f"{result.text} + {at * _steps(shape)[axis]}"
        if value.size:
            _copy(body, value, _steps(value.shape), value.shape, start, _steps(shape))
        at += value.shape[axis]
    return result


def _pad(body: Body, node: Node, inputs: Inputs, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
    value, pads, fill = _need(inputs[0], _ANY), _fixed(inputs, 1), _fixed(inputs, 2)
    if pads is None or (pads < 0).any():
        raise _Refused("its padding must be constant and not negative")
    result = body.buffer(dtype, shape, node.outputs[0])
    with_what = body.constant(np.zeros(1, dtype) if fill is None else fill.astype(dtype).reshape(1))
    body.add(f"vta_fill({dtype.itemsize}, {result.size}, {with_what}, {result.text});")
    start = sum(int(before) * step for before, step in zip(pads[: len(shape)], _steps(shape), strict=True))
    _copy(body, value, _steps(value.shape), value.shape, f"{result.text} + {start}", _steps(shape))
    return result


_WRITERS: dict[str, Writer] = {
    "Add": _binary("VTA_ADD"),
    "Ceil": _unary("VTA_CEIL"),
    "Clip": _clip,
    "Concat": _concat,
    "DequantizeLinear": _dequantize,
    "Div": _binary("VTA_DIV"),
    "Flatten": _same,
    "Floor": _unary("VTA_FLOOR"),
    "Identity": _same,
    "Mul": _binary("VTA_MUL"),
    "Neg": _unary("VTA_NEG"),
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Relu": _unary("VTA_RELU"),
    "Reshape": _same,
    "Round": _unary("VTA_ROUND"),
    "Sub": _binary("VTA_SUB"),
    "Transpose": _transpose,
}
"""ONNX operator -> what writes its statements."""
