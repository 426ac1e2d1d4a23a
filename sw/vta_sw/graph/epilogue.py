"""Operators on single values between a layer and its QuantizeLinear (BatchNormalization, thresholds, scalings).

The layer's requantization takes them in where it gives the same integers for every sum that the layer can make: all of
them are tried, channel by channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from vta_arch.requant import RequantParams, fixed_point, requantize

from ..frontend.session import open_session, run_session
from .qdq import NotALayerError, Scope, quantized
from .scales import nearest_offset
from .types import IntLayer, Ints, QTensor
from .view import GraphView

Floats = NDArray[np.float64]
SUM_LIMIT = 1 << 23
"""Most sums, of all channels, that are tried."""
_SLOPES = 61
"""Slopes that are tried for a channel, of all that can do."""
_PLAIN = ("Relu", "Clip", "QuantizeLinear")
_OPERATORS = frozenset(
    {"BatchNormalization", "Mul", "Div", "Add", "Sub", "Neg", "Relu", "Clip", "Floor", "Ceil", "Round", "Sign", "Abs"}
    | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Cast", "Where", "LeakyRelu", "PRelu", "Min", "Max"}
    | {"QuantizeLinear", "DequantizeLinear", "Tanh", "Sigmoid", "HardSigmoid"}
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
    if count * len(flat) > SUM_LIMIT:
        raise NotALayerError(
            f"what follows it is no plain scale, and its {len(flat)} channels can have {count} sums each: at most "
            f"{SUM_LIMIT} in all are tried"
        )
    sums = np.minimum(low + np.arange(count)[:, None], high)
    real = (sums - source.zero * flat.sum(axis=1) + bias) * step
    expected = chain.run(real)
    falling = expected[-1] < expected[0]
    weight = np.where(falling[:, None, None, None], -layer.weight, layer.weight)
    sums = np.where(falling, -sums, sums)
    params = _fit(sums, expected, layer.output)
    found = requantize(sums, params, 64)
    wrong = int(np.count_nonzero(found != expected))
    if wrong:
        raise NotALayerError(
            f"what follows it is no scale and offset: of {expected.size} sums {wrong} would be rounded otherwise"
        )
    least, most = int(expected.min()), int(expected.max())
    output = replace(layer.output, low=least, high=most)
    return replace(layer, weight=weight, requant=params, output=output, low=least, high=most)


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
