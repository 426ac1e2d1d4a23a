"""QONNX networks made in tests, and what their operators compute, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

DOMAIN = "qonnx.custom_op.general"
_ROUND = {"ROUND": np.rint, "CEIL": np.ceil, "FLOOR": np.floor}


class Quant(OpRun):
    """Integers of a number of bits: scaled, moved by the zero point, clipped, rounded, and back."""

    op_domain = DOMAIN

    def _run(  # type: ignore[override]  # as the evaluator calls it
        self,
        x: np.ndarray,
        scale: np.ndarray,
        zero: np.ndarray,
        bits: np.ndarray,
        signed: int | None = None,
        narrow: int | None = None,
        rounding_mode: str | None = None,
    ) -> tuple[np.ndarray]:
        width, less = float(bits), int(narrow or 0)
        low = -(2 ** (width - 1)) + less if signed else 0
        high = 2 ** (width - 1) - 1 if signed else 2**width - 1 - less
        steps = _ROUND[rounding_mode or "ROUND"](np.clip(x / scale + zero, low, high))
        return (((steps - zero) * scale).astype(np.float32),)


class BipolarQuant(OpRun):
    """The sign, times the scale; 0 counts as positive."""

    op_domain = DOMAIN

    def _run(self, x: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray]:  # type: ignore[override]
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)


class Trunc(OpRun):
    """The most significant bits of integers; the scale stays."""

    op_domain = DOMAIN

    def _run(  # type: ignore[override]
        self,
        x: np.ndarray,
        scale: np.ndarray,
        zero: np.ndarray,
        before: np.ndarray,
        after: np.ndarray,
        rounding_mode: str | None = None,
    ) -> tuple[np.ndarray]:
        steps = np.rint(x / scale + zero) / 2 ** (float(before) - float(after))
        return (((_ROUND[rounding_mode or "FLOOR"](steps) - zero) * scale).astype(np.float32),)


def evaluate(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The network's output by the definitions above and ONNX's own reference."""
    evaluator = ReferenceEvaluator(model, new_ops=[Quant, BipolarQuant, Trunc])
    return np.asarray(evaluator.run(None, {model.graph.input[0].name: x})[0])


class QonnxBuilder:
    """Builds a network node by node, with seeded weights."""

    def __init__(self, seed: int, x: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, x)

    def constant(self, value: np.ndarray | float) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        domain = DOMAIN if op in ("Quant", "BipolarQuant", "Trunc") else ""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def quant(self, x: str, name: str, bits: int, scale: np.ndarray | float, *, zero: float = 0, **options: Any) -> str:
        settings = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | options
        inputs = [x, self.constant(scale), self.constant(zero), self.constant(float(bits))]
        return self.node("Quant", inputs, name, **settings)

    def weight(self, name: str, shape: tuple[int, ...], bits: int, scale: np.ndarray | float = 0.25) -> str:
        if bits == 1:
            inputs = [self.constant(self.rng.normal(0, 1, shape)), self.constant(scale)]
            return self.node("BipolarQuant", inputs, name)
        value = self.constant(self.rng.normal(0, 2 ** (bits - 2), shape) * scale)
        return self.quant(value, name, bits, scale, narrow=1)

    def normalization(self, x: str, name: str, channels: int, spread: float) -> str:
        """BatchNormalization of results of about ``spread``; some channels are turned round."""
        sign = np.where(self.rng.random(channels) < 0.3, -1, 1)
        values = (
            sign * self.rng.uniform(0.5, 2, channels),
            self.rng.normal(0, 0.5, channels),
            self.rng.normal(0, spread / 4, channels),
            self.rng.uniform(0.5, 1.5, channels) * spread**2,
        )
        return self.node("BatchNormalization", [x, *map(self.constant, values)], name)

    def model(self, output: str, shape: tuple[int, ...]) -> onnx.ModelProto:
        end = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "qonnx", [self.input], [end], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
