"""Models without their large constants, for tools that need only the shapes of these, and would copy them."""

from __future__ import annotations

import math

from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import ModelProto, helper

KEPT_ELEMENTS = 1024
"""Elements of a constant that stays: shape inference may read values from it."""


def light_copy(model: ModelProto) -> ModelProto:
    """The model with its large constants as typed inputs, behind its own."""
    light = ModelProto()
    _copy_fields(model, light, "graph")
    _copy_fields(model.graph, light.graph, "initializer")
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= KEPT_ELEMENTS or tensor.name in listed:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return light


def with_constants(light: ModelProto, model: ModelProto) -> ModelProto:
    """``light``, which was made from :func:`light_copy` of ``model``, with all constants of ``model`` again."""
    del light.graph.input[len(model.graph.input) :], light.graph.initializer[:]
    light.graph.initializer.extend(model.graph.initializer)
    return light


def take_shapes(model: ModelProto, inferred: ModelProto) -> ModelProto:
    """``model`` itself, now with the shapes of inner tensors and outputs that ``inferred`` has."""
    for found, known in (
        (inferred.graph.value_info, model.graph.value_info),
        (inferred.graph.output, model.graph.output),
    ):
        del known[:]
        known.extend(found)
    return model


def _copy_fields(source: Message, target: Message, without: str) -> None:
    """Copy all fields but one."""
    for field, value in source.ListFields():
        if field.name == without:
            continue
        if isinstance(value, str | bytes | int | float):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).MergeFrom(value)
