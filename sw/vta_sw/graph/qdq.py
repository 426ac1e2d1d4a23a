"""QuantizeLinear and DequantizeLinear: what they say about a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_arch.config import VTAConfig
from vta_arch.program import INTEGER_TYPES

from .moves import PLACES_LIMIT, Places, own_places, places_before, stays
from .types import Ints, QTensor
from .view import MOVES, TYPE_NAMES, GraphView, attributes

_RANGE_KEEPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "GlobalAveragePool", "Transpose")
"""Operators whose results are not beyond their first input's range."""


class NotALayerError(Exception):
    """A pattern that does not apply; its text is the reason shown to the user."""


@dataclass(frozen=True)
class Scope:
    """What patterns know besides the graph: the configuration, and bounds of the integers that layers make."""

    cfg: VTAConfig
    bounds: dict[str, tuple[int, int]]

    @property
    def any_scale(self) -> bool:
        """Whether scales may be any positive number."""
        return "requant" in self.cfg.extensions

    @property
    def zero_points(self) -> bool:
        """Whether activations may have zero points."""
        return self.any_scale or "pad_value" in self.cfg.extensions


@dataclass(frozen=True)
class Constant:
    """A dequantized constant: integers without their zero point, and their scale per element of ``axis`` (or one)."""

    values: NDArray[np.int64]
    scale: NDArray[np.float64]
    axis: int


def type_range(dtype: str) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    width, signed = INTEGER_TYPES[dtype]
    return (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)


def _parameters(view: GraphView, index: int, *, zero_point: bool) -> tuple[NDArray[np.float64], str, int]:
    """Scale (flat), integer type and zero point of a Q or DQ node; without ``zero_point`` it must be 0."""
    node, scale = view.nodes[index], _scale(view, index)
    zero = node.input[2] if len(node.input) > 2 and node.input[2] else ""
    if zero:
        value = view.constant(zero)
        if value is None or (np.any(value != 0) and not (zero_point and value.size == 1)):
            raise NotALayerError(f"the zero point of {view.name_of(index)!r} is not 0")
        return scale, view.types[zero], int(value.reshape(-1)[0]) if value.size else 0
    named = attributes(node).get("output_dtype", 0)
    default = view.types.get(node.input[0], "uint8") if node.op_type == "DequantizeLinear" else "uint8"
    return scale, TYPE_NAMES[named] if named else default, 0


def _scale(view: GraphView, index: int) -> NDArray[np.float64]:
    """The scale of a Q or DQ node, flat. Raises NotALayerError unless it is constant and positive."""
    node = view.nodes[index]
    if attributes(node).get("block_size"):
        raise NotALayerError("blocked quantization")
    scale = view.constant(node.input[1])
    if scale is None:
        raise NotALayerError(f"the scale of {view.name_of(index)!r} is not a constant")
    if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        raise NotALayerError(f"the scale of {view.name_of(index)!r} is not positive")
    return scale.astype(np.float64).reshape(-1)


def activation(view: GraphView, real: str, scope: Scope) -> QTensor:
    """The integer activation behind the dequantized tensor ``real``.

    Reshapes and transposes that move nothing in tiles ([N, C, 1, 1] to [N, C], [N, C, H, W] to [N, H * W, C]) are
    looked through. Raises NotALayerError with the reason when it is not one.
    """
    return _activation(view, real, scope, flattened=False)[0]


def flat_activation(view: GraphView, real: str, scope: Scope) -> tuple[QTensor, Places | None]:
    """As :func:`activation`, of ``real`` [N, features] that may hold each image of a layer's output in any order.

    The second result are the places of the features [features] among an image's elements, None where they are in
    order. Raises NotALayerError.
    """
    found, places = _activation(view, real, scope, flattened=True)
    return found, None if places is None else places[0]


def _activation(view: GraphView, real: str, scope: Scope, *, flattened: bool) -> tuple[QTensor, Places | None]:
    """The activation, and where its elements stood in it if not in the same places."""
    index = view.producer.get(real)
    if index is None or view.nodes[index].op_type != "DequantizeLinear":
        raise NotALayerError(f"its input {real!r} is not quantized")
    name = view.nodes[index].input[0]
    if name in view.initializers:
        raise NotALayerError(f"its input {real!r} is a constant")
    tensor = _tensor(view, index, name, scope)
    maker = view.producer.get(name)
    if name in scope.bounds or maker is None or view.nodes[maker].op_type != "QuantizeLinear":
        return tensor, None
    found, places = _before_moves(view, view.nodes[maker].input[0], tensor, scope, flattened=flattened)
    return _bounded(view, found, scope), places


def _bounded(view: GraphView, tensor: QTensor, scope: Scope) -> QTensor:
    """``tensor`` within the bounds of the real values that are quantized to it."""
    maker = view.producer.get(tensor.name)
    if tensor.name in scope.bounds or maker is None or view.nodes[maker].op_type != "QuantizeLinear":
        return tensor
    found = quantized(view, maker, *real_range(view, view.nodes[maker].input[0], scope), scope)
    return replace(found, positions=tensor.positions)


@dataclass(frozen=True)
class Affine:
    """A real tensor that is an activation, its scale included, plus ``offset``; ``nodes``: what makes it from that.

    Of an activation in digits ``powers`` is the sum of what each digit counts. ``places``: see :func:`flat_activation`.
    """

    source: QTensor
    offset: float
    nodes: tuple[int, ...]
    powers: int = 1
    places: Places | None = None


def affine_activation(view: GraphView, real: str, scope: Scope, *, flattened: bool = False) -> Affine:
    """The activation behind ``real``, through products with and sums of single numbers. Raises NotALayerError.

    ``flattened``: as :func:`flat_activation`.
    """
    factor, offset, nodes = 1.0, 0.0, []
    while (index := view.producer.get(real)) is not None:
        found = _scaling(view, index) if scope.any_scale else None
        if found is None:
            break
        real, times, plus = found
        offset, factor = offset + factor * plus, factor * times
        nodes.append(index)
    source, places = flat_activation(view, real, scope) if flattened else (activation(view, real, scope), None)
    return Affine(replace(source, scale=source.scale * factor), offset, tuple(nodes), places=places)


def _scaling(view: GraphView, index: int) -> tuple[str, float, float] | None:
    """(x, a, b) of a node that makes a * x + b of single numbers a > 0 and b, None for other nodes."""
    node = view.nodes[index]
    if node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return None
    at = next((at for at in (1, 0) if view.constant(node.input[at]) is not None), None)
    value = None if at is None else view.constant(node.input[at])
    if at is None or value is None or value.size != 1 or (at == 0 and node.op_type in ("Sub", "Div")):
        return None
    if view.shapes.get(node.input[1 - at]) != view.shapes.get(node.output[0]):
        return None
    number = float(value.reshape(-1)[0])
    if node.op_type in ("Add", "Sub"):
        return node.input[1 - at], 1.0, number if node.op_type == "Add" else -number
    factor = number if node.op_type == "Mul" else 1 / number if number else 0.0
    return (node.input[1 - at], factor, 0.0) if factor > 0 else None


def _before_moves(
    view: GraphView, real: str, tensor: QTensor, scope: Scope, *, flattened: bool
) -> tuple[QTensor, Places | None]:
    """The oldest activation of the same steps from which only moves make ``real``, where ``tensor``'s elements stand.

    ``flattened``: see :func:`flat_activation`; the places are those of ``tensor``'s elements in it.
    """
    first = view.producer.get(real)
    if first is None or view.nodes[first].op_type not in MOVES or math.prod(tensor.shape) > PLACES_LIMIT:
        return tensor, None
    places, best = own_places(tensor.shape), tensor
    while (index := view.producer.get(real)) is not None:
        node = view.nodes[index]
        if node.op_type in MOVES:
            before = places_before(view, index, places)
            if before is None:
                break
            places, real = before, node.input[0]
            continue
        older = _same_steps(view, index, tensor, scope)
        if older is None:
            break
        if stays(older.shape, places):
            same = older.nchw == tensor.nchw
            best = older if same else replace(older, positions=tensor.nchw[2:])
        elif flattened and older.name in scope.bounds and _by_image(older, tensor, places):
            return older, places
        maker = view.producer.get(older.name)
        if older.name in scope.bounds or maker is None or view.nodes[maker].op_type != "QuantizeLinear":
            break
        real = view.nodes[maker].input[0]
    return best, None


def _same_steps(view: GraphView, index: int, tensor: QTensor, scope: Scope) -> QTensor | None:
    """The tensor that a DequantizeLinear reads, if it has the type, scale and zero point of ``tensor``."""
    node = view.nodes[index]
    if node.op_type != "DequantizeLinear" or node.input[0] in view.initializers:
        return None
    try:
        older = _tensor(view, index, node.input[0], scope)
    except NotALayerError:
        return None  # the moved tensor itself is one
    same = (older.dtype, older.scale, older.zero) == (tensor.dtype, tensor.scale, tensor.zero)
    return older if same else None


def _by_image(older: QTensor, tensor: QTensor, places: Places) -> bool:
    """Whether ``tensor`` [N, features] has all elements of each image of ``older``, in one order."""
    count, size = older.shape[0], math.prod(older.shape[1:])
    if tensor.shape != (count, size):
        return False
    return np.array_equal(places - places[:1], np.broadcast_to(np.arange(count)[:, None] * size, places.shape))


def real_range(view: GraphView, name: str, scope: Scope) -> tuple[float, float]:
    """Bounds of a real tensor, as far as the nodes that make it tell."""
    low, high = -np.inf, np.inf

    def bounded(least: float, most: float) -> tuple[float, float]:
        """What is left of [least, most] behind the nodes that were passed."""
        return min(max(least, low), high), min(max(most, low), high)

    while (index := view.producer.get(name)) is not None:
        node = view.nodes[index]
        if node.op_type == "DequantizeLinear":
            tensor = activation(view, name, scope)
            least, most = ((bound - tensor.zero) * tensor.scale for bound in (tensor.low, tensor.high))
            return bounded(least, most)
        if node.op_type in ("Relu", "Clip"):
            low, high = bounded(*clip_bounds(view, index))
        elif (values := _two_values(view, node)) is not None:
            return bounded(*values)
        elif node.op_type not in _RANGE_KEEPING:
            break
        name = node.input[0]
    return low, high


def _two_values(view: GraphView, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Least and greatest value of a Where of constants, or of a bool as a number."""
    if node.op_type == "Cast" and view.types.get(node.input[0]) == "bool":
        return 0.0, 1.0
    values = [view.constant(name) for name in node.input[1:3]] if node.op_type == "Where" else [None]
    if any(value is None or value.size == 0 for value in values):
        return None
    ends = [float(end) for value in values if value is not None for end in (value.min(), value.max())]
    return min(ends), max(ends)


def clip_bounds(view: GraphView, index: int) -> tuple[float, float]:
    """Bounds that a Relu or Clip imposes. Raises NotALayerError when they are not constant.

    Of a Clip whose least value is the greater one all values become the other.
    """
    node = view.nodes[index]
    if node.op_type == "Relu":
        return 0.0, np.inf
    named = attributes(node)
    bounds = [float(named.get("min", -np.inf)), float(named.get("max", np.inf))]
    for position, name in enumerate(node.input[1:3]):
        if name:
            value = view.constant(name)
            if value is None or value.size != 1:
                raise NotALayerError("a Clip behind it has bounds that are not constant")
            bounds[position] = float(value.reshape(-1)[0])
    return min(bounds), bounds[1]


def quantized(view: GraphView, index: int, low: float, high: float, scope: Scope) -> QTensor:
    """The integer tensor that the QuantizeLinear ``index`` makes of a real within [low, high]."""
    tensor = _tensor(view, index, view.nodes[index].output[0], scope)
    lowest, highest = (
        int(np.clip(np.rint(bound / tensor.scale) + tensor.zero, tensor.low, tensor.high)) for bound in (low, high)
    )
    return replace(tensor, low=lowest, high=max(lowest, highest))


def _tensor(view: GraphView, index: int, name: str, scope: Scope) -> QTensor:
    """The integer tensor ``name`` with the scale and zero point of the Q or DQ node ``index``."""
    scale, dtype, zero = _parameters(view, index, zero_point=scope.zero_points)
    if scale.size != 1:
        raise NotALayerError(f"activation {name!r} has a scale per channel")
    if dtype not in INTEGER_TYPES:
        raise NotALayerError(f"activation {name!r} has the type {dtype}")
    shape = view.shapes.get(name)
    if shape is None or not 2 <= len(shape) <= 4:
        raise NotALayerError(f"activation {name!r} has no fixed shape of 2 to 4 dimensions")
    low, high = scope.bounds.get(name) or type_range(dtype)
    return QTensor(name, shape, dtype, float(scale[0]), low, high, zero)


def constant(view: GraphView, real: str) -> Constant:
    """The integer constant behind the dequantized tensor ``real``. Raises NotALayerError."""
    index = view.producer.get(real)
    if index is None or view.nodes[index].op_type != "DequantizeLinear":
        raise NotALayerError(f"its constant {real!r} is not quantized")
    node = view.nodes[index]
    values = view.constant(node.input[0])
    if values is None:
        raise NotALayerError(f"{real!r} is not a constant")
    scale = _scale(view, index)
    axis = attributes(node).get("axis", 1) % max(values.ndim, 1)
    zero = _constant_zero(view, node, values, axis)
    return Constant(values.astype(np.int64) - zero, scale, axis)


def _constant_zero(view: GraphView, node: onnx.NodeProto, values: NDArray[Any], axis: int) -> NDArray[np.int64]:
    """Zero points of a dequantized constant, of a shape that is subtracted from it. Raises NotALayerError."""
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros((), np.int64)
    zero = view.constant(node.input[2])
    if zero is None or (zero.size != 1 and zero.size != values.shape[axis]):
        raise NotALayerError(f"the zero point of its constant {node.output[0]!r} is not one per tensor or channel")
    wide = zero.astype(np.int64).reshape(-1)
    return wide[0] if zero.size == 1 else wide.reshape([-1 if at == axis else 1 for at in range(values.ndim)])


def require_no_zero_points(*tensors: QTensor) -> None:
    """Raises NotALayerError for a tensor whose zero point is not 0, where only scales can be changed."""
    for tensor in tensors:
        if tensor.zero:
            raise NotALayerError(f"{tensor.name!r} has the zero point {tensor.zero}, and passes only change its scale")


def shifted(zero: int, shift: Ints) -> Ints:
    """What is added before a shift to the right by ``shift`` adds ``zero`` behind it. Raises NotALayerError."""
    if zero and shift.min() < 0:
        raise NotALayerError(f"its output has the zero point {zero}, and a sum is shifted left")
    return np.int64(zero) << np.maximum(shift, 0)


def exponent(numerator: float, denominator: float) -> int:
    """log2(numerator / denominator). Raises NotALayerError unless it is a whole number."""
    ratio = numerator / denominator
    mantissa, power = np.frexp(ratio)
    if mantissa != 0.5:
        raise NotALayerError(f"the ratio of its scales, {ratio:.6g}, is not a power of two")
    return int(power) - 1
