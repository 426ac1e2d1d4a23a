"""Operators on single values between a layer and its QuantizeLinear (BatchNormalization, thresholds, scalings).

The layer's requantization takes them in where it gives the same integers for every sum that the layer can make: all of
them are tried, channel by channel. Where there are too many, a chain of scalings alone is taken in as it is written,
and as few of a sample may be rounded otherwise as in any layer of other scales than powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from vta_arch.requant import RequantParams, fixed_point, requantize

from ..frontend.session import open_session, run_session
from .qdq import NotALayerError, Scope, quantized
from .scales import affine_params, nearest_offset
from .types import IntLayer, Ints, QTensor
from .view import GraphView, attributes

Floats = NDArray[np.float64]
SUM_LIMIT = 1 << 23
"""Most sums, of all channels, that are tried."""
_SLOPES = 61
"""Slopes that are tried for a channel, of all that can do."""
SAMPLE = 1 << 18
"""Sums that are tried of more, of all channels."""
_DIFFERING = 1e-4
"""Share of a sample that may be rounded otherwise, by one step."""
_BOUNDS = ("Relu", "Clip")
_PLAIN = (*_BOUNDS, "QuantizeLinear")
_OPERATORS = frozenset(
    {"BatchNormalization", "Mul", "Div", "Add", "Sub", "Neg", "Relu", "Clip", "Floor", "Ceil", "Round", "Sign", "Abs"}
    | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Cast", "Where", "LeakyRelu", "PRelu", "Min", "Max"}
    | {"QuantizeLinear", "Tanh", "Sigmoid", "HardSigmoid"}
)


@dataclass(frozen=True)
class Chain:
    """The nodes from a layer's own to its QuantizeLinear, of which some are no plain bounds."""

    view: GraphView
    nodes: tuple[int, ...]

    def output(self, scope: Scope) -> QTensor:
        """What its QuantizeLinear makes."""
        return quantized(self.view, self.nodes[-1], -np.inf, np.inf, scope)

    def run(self, sums: Floats) -> Ints:
        """The integers made of real results [number, channels] of the layer."""
        view, first = self.view, self.view.nodes[self.nodes[0]]
        rank = len(view.shapes.get(first.output[0], ())) or 2
        shape = [*sums.shape, *[1] * (rank - 2)]
        nodes = [view.nodes[index] for index in self.nodes[1:]]
        needed = {name for node in nodes for name in node.input}
        held = [tensor for tensor in view.model.graph.initializer if tensor.name in needed]
        one = helper.make_tensor("epilogue/one", TensorProto.FLOAT, [], [1.0])
        last = helper.make_node("DequantizeLinear", [nodes[-1].output[0], one.name], ["epilogue/result"])
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (first.output[0], last.output[0])
        ]
        graph = helper.make_graph([*nodes, last], "epilogue", ends[:1], ends[1:], [*held, one])
        model = helper.make_model(graph, opset_imports=view.model.opset_import, ir_version=view.model.ir_version)
        feeds = {first.output[0]: sums.astype(np.float32).reshape(shape)}
        made = run_session(open_session(model, exact=True), [last.output[0]], feeds)[0]
        return np.rint(np.asarray(made, np.float64)).astype(np.int64).reshape(sums.shape)

    def line(self, channels: int) -> tuple[Floats, Floats] | None:
        """(a, b) of each channel where the chain, but for bounds, is a * x + b; None where it is anything else."""
        factor, offset = np.ones(channels), np.zeros(channels)
        name = self.view.nodes[self.nodes[0]].output[0]
        for index in self.nodes[1:-1]:
            node = self.view.nodes[index]
            if node.op_type not in _BOUNDS:
                found = _step(self.view, node, name)
                if found is None:
                    return None
                factor, offset = factor * found[0], offset * found[0] + found[1]
            name = node.output[0]
        return factor, offset


def _step(view: GraphView, node: onnx.NodeProto, name: str) -> tuple[Floats, Floats] | None:
    """(a, b) of a node that makes a * x + b of the tensor ``name``, by channel or of one element."""
    constants = [view.constant(item) for item in node.input if item != name]
    values = [np.asarray(value, np.float64).reshape(-1) for value in constants if value is not None]
    zero, one = np.zeros(1), np.ones(1)
    first = node.input[0] == name
    if node.op_type == "BatchNormalization":
        gamma, beta, mean, variance = values
        factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        return factor, beta - mean * factor
    if node.op_type == "Add":
        return one, values[0]
    if node.op_type == "Sub":
        return (one, -values[0]) if first else (-one, values[0])
    if node.op_type == "Mul" or (node.op_type == "Div" and first and np.all(values[0])):
        return (values[0] if node.op_type == "Mul" else 1 / values[0]), zero
    return (-one, zero) if node.op_type == "Neg" else None


def follow(view: GraphView, index: int) -> Chain | None:
    """The chain behind node ``index``; None where it has only plain bounds, or ends at anything else."""
    nodes, plain = [index], True
    while True:
        name = view.nodes[nodes[-1]].output[0]
        following = view.single_consumer(name)
        if following is None:
            return None
        node = view.nodes[following]
        others = [item for item in node.input if item and item != name]
        if node.op_type not in _OPERATORS or any(view.constant(item) is None for item in others):
            return None
        if not all(_single_or_channels(view, item, name) for item in others):
            return None
        plain = plain and node.op_type in _PLAIN
        nodes.append(following)
        if node.op_type == "QuantizeLinear":
            return None if plain else Chain(view, tuple(nodes))


def _single_or_channels(view: GraphView, name: str, beside: str) -> bool:
    """Whether a constant beside the tensor ``beside`` is one number, or one for each of its channels."""
    value, shape = view.constant(name), view.shapes.get(beside, ())
    if value is None or value.size == 1 or len(shape) < 2:
        return value is not None and value.size == 1
    if value.ndim == 1 and len(shape) > 2:
        return value.size == shape[1]  # parameters of BatchNormalization
    aligned = (1,) * (len(shape) - value.ndim) + value.shape
    return aligned[1] == value.size == shape[1]


def fit_epilogue(layer: IntLayer, chain: Chain, step: Floats, bias: Floats) -> IntLayer:
    """``layer`` with requantization parameters that do what the chain does, for all sums. Raises NotALayerError.

    ``step``: the real value of one step of each channel's sum; ``bias``: in these steps, an input's offset included.
    """
    source, flat = layer.inputs[0], layer.weight.reshape(len(layer.weight), -1)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    padded = (layer.pad_value,) if any(layer.pads) else ()
    ends = min((source.low, *padded)), max((source.high, *padded))
    low, high = positive * ends[0] + negative * ends[1], positive * ends[1] + negative * ends[0]
    count = int((high - low).max()) + 1
    every = count * len(flat) <= SUM_LIMIT
    line = None if every else chain.line(len(flat))
    if not every and line is None:
        raise NotALayerError(
            f"what follows it is no plain scale, and its {len(flat)} channels can have {count} sums each: at most "
            f"{SUM_LIMIT} in all are tried"
        )
    places = np.arange(count) if every else np.unique(np.linspace(0, count - 1, SAMPLE // len(flat)).astype(np.int64))
    sums = np.minimum(low + places[:, None], high)
    real = (sums - source.zero * flat.sum(axis=1) + bias) * step
    expected = chain.run(real)
    falling = expected[-1] < expected[0]
    weight = np.where(falling[:, None, None, None], -layer.weight, layer.weight)
    sums = np.where(falling, -sums, sums)
    if line is None:
        params = _fit(sums, expected, layer.output)
    else:
        inner = bias - source.zero * flat.sum(axis=1)
        params = _written(line[0] * step, line[1] + line[0] * step * inner, expected, layer.output)
    found = requantize(sums, params, 64)
    wrong = int(np.count_nonzero(found != expected))
    if wrong > (0 if every else _DIFFERING * expected.size) or np.abs(found - expected).max() > 1:
        raise NotALayerError(
            f"what follows it is no scale and offset: of {expected.size} sums {wrong} would be rounded otherwise"
        )
    least, most = int(expected.min()), int(expected.max())
    output = replace(layer.output, low=least, high=most)
    return replace(layer, weight=weight, requant=params, output=output, low=least, high=most)


def _written(factor: Floats, offset: Floats, expected: Ints, output: QTensor) -> RequantParams:
    """Parameters of factor * sum + offset, real numbers, where the weights of falling channels change their sign."""
    scale = (np.abs(factor) / output.scale).astype(np.float32)
    params = affine_params(scale, offset / output.scale + output.zero, output)
    return replace(params, low=expected.min(axis=0), high=expected.max(axis=0))


def _fit(sums: Ints, expected: Ints, output: QTensor) -> RequantParams:
    """Parameters of each channel whose rounded line is ``expected`` at ``sums`` [number, channels], if there are."""
    lines = [_line(sums[:, channel], expected[:, channel], output.zero) for channel in range(sums.shape[1])]
    scale, bias, zero = (np.array(values) for values in zip(*lines, strict=True))
    multiplier, shift = fixed_point(scale.astype(np.float32))
    wide = np.zeros_like(bias)
    return RequantParams(bias, multiplier, shift, wide, zero, expected.min(axis=0), expected.max(axis=0))


def _line(sums: Ints, values: Ints, zero: int) -> tuple[float, int, int]:
    """Slope, bias and zero point of the line that runs most in the middle of where the rounded value must change."""
    order = np.argsort(sums, kind="stable")
    sums, values = sums[order], values[order]
    levels = np.arange(values[0] + 1, values[-1] + 1)
    if not len(levels):
        return 0.0, 0, int(values[0])
    at = np.searchsorted(values, levels)
    if len(levels) == 1:
        return 1.0, int(levels[0] - sums[at[0]]), 0
    # Below ``before`` the line must be half a step under the level, from ``after`` on half a step above.
    before, after = sums[at - 1].astype(np.float64), sums[at].astype(np.float64)
    slopes = _slopes(levels, before, after)
    least = (levels - 0.5 - slopes[:, None] * after).max(axis=1)
    most = (levels - 0.5 - slopes[:, None] * before).min(axis=1)
    bias, whole, error = nearest_offset(slopes.astype(np.float32), (least + most) / 2, zero)
    best = int(np.argmax((most - least) / 2 - error))
    return float(slopes[best]), int(bias[best]), int(whole[best])


def _slopes(levels: Ints, before: Floats, after: Floats) -> Floats:
    """Slopes from the flattest to the steepest line that passes between the changes, as float32.

    A line passes if it rises by less than the levels where its points can be far apart, and by more where near.
    """
    rise = levels[None, :] - levels[:, None]
    upward = rise > 0
    wide = np.where(upward, after[None, :] - before[:, None], 1)
    narrow = np.where(upward, before[None, :] - after[:, None], 1)
    flattest = float(np.max(np.where(upward, rise / wide, 0)))
    steepest = float(np.min(np.where(upward & (narrow > 0), rise / np.maximum(narrow, 1), len(levels))))
    shares = (np.arange(_SLOPES) + 0.5) / _SLOPES
    return (flattest + (steepest - flattest) * shares).astype(np.float32).astype(np.float64)
