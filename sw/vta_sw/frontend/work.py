"""How much a network computes, before anything is known about the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import ModelProto
from vta_arch.errors import ModelError

from .graph import Graph
from .prepare import prepare

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose second input are weights."""


@dataclass(frozen=True)
class Work:
    """Of convolutions, Gemm and MatMul with constant weights: true multiply-accumulates of one image, and weights."""

    macs: int = 0
    weights: int = 0


def work_of(model: ModelProto) -> Work:
    """The work of a float network, without padding to any block. Raises ModelError for shapes that stay unknown."""
    graph = Graph(prepare(model, batch=1))
    macs = weights = 0
    for node in graph.nodes:
        if node.op_type not in PRODUCTS or node.input[1] not in graph.constants:
            continue
        # Each weight multiplies once for each of these positions.
        placed = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
        weight, shape = graph.shape(node.input[1]), graph.shape(placed)
        if weight is None or shape is None:
            raise ModelError(f"node {node.name!r}: the shape of {placed!r} is not known")
        count = math.prod(int(size or 0) for size in weight)
        places = shape[2:] if "Conv" in node.op_type else shape[:-1]
        macs += count * math.prod(int(size or 0) for size in places)
        weights += count
    return Work(macs, weights)
