"""Which pattern recognises which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable

from . import elementwise, patterns, pool, select, spatial, transposed
from .qdq import NotALayerError, Scope
from .types import IntLayer
from .view import GraphView

Pattern = Callable[[GraphView, int, Scope], IntLayer]


def _add(view: GraphView, index: int, scope: Scope) -> IntLayer:
    """Two activations, or one and a constant. Raises NotALayerError."""
    with_constant = elementwise.constant_operand(view, index) is not None
    return (elementwise.sum_with_constant if with_constant else patterns.add)(view, index, scope)


def _refused(reason: str) -> Pattern:
    """A pattern that applies to no node."""

    def pattern(*_: object) -> IntLayer:
        raise NotALayerError(reason)

    return pattern


_RUNTIME_SCALE = "the scale of its input or result is computed while the network runs, or its result is not only scaled"
_OTHER_FORM = "its scales are computed, or its dimensions are in another order"

PATTERNS: dict[str, Pattern] = {
    "Conv": patterns.conv,
    "ConvTranspose": transposed.conv_transpose,
    "Gemm": patterns.gemm,
    "MatMul": patterns.matmul,
    "Add": _add,
    "Sub": elementwise.sum_with_constant,
    "Mul": elementwise.product_with_constant,
    "Div": elementwise.product_with_constant,
    "Relu": elementwise.clip,
    "Clip": elementwise.clip,
    "LeakyRelu": elementwise.leaky_relu,
    "AveragePool": pool.average_pool,
    "GlobalAveragePool": pool.average_pool,
    "MaxPool": pool.max_pool,
    "GlobalMaxPool": pool.max_pool,
    "Concat": select.concat,
    "Slice": spatial.slice_positions,
    "Pad": spatial.pad,
    "Resize": spatial.resize,
    "DynamicQuantizeLinear": _refused("it finds its scale while the network runs"),
    "ConvInteger": _refused(_RUNTIME_SCALE),
    "MatMulInteger": _refused(_RUNTIME_SCALE),
    "QLinearConv": _refused(_OTHER_FORM),
    "QLinearMatMul": _refused(_OTHER_FORM),
    "Transpose": _refused(
        "it moves values between tiles, which LOAD and STORE do not take apart (free where all stay in place)"
    ),
}
"""ONNX operator -> its pattern, which makes a layer of a node or raises NotALayerError with the reason."""
