"""Input shapes and the batch: which dimensions may be symbolic, and changing a batch that the file fixes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto
from vta_arch.errors import ModelError

from .graph import Graph, shape_of
from .light import light_copy
from .load import ELEMENT_LIMIT, infer_shapes

BATCH_NAME = "N"
"""Name of a batch dimension that stays symbolic."""
_DIMENSION_LIMIT = 1 << 24


def fix_input_shapes(graph: Graph, shapes: Mapping[str, tuple[int, ...]] | None) -> None:
    """Apply shapes that the user gave; then nothing but the first dimension of an input may be symbolic.

    Raises ModelError naming the input and how to give its shape.
    """
    shapes = dict(shapes or {})
    names = [value.name for value in graph.inputs]
    for name in shapes:
        if name not in names:
            raise ModelError(f"--shape {name}=...: the network has no such input; inputs: {', '.join(names)}")
    for value in graph.inputs:
        if not value.type.HasField("tensor_type"):
            raise ModelError(f"input {value.name!r} is not a tensor")
        if value.name in shapes:
            _apply_shape(value, shapes[value.name])
        _check_dimensions(value)


def _apply_shape(value: ValueInfoProto, shape: tuple[int, ...]) -> None:
    given = "x".join(map(str, shape))
    old = shape_of(value)
    if not shape or any(not 0 < d < _DIMENSION_LIMIT for d in shape):
        raise ModelError(f"--shape {value.name}={given}: every dimension must be from 1 to {_DIMENSION_LIMIT}")
    fits = old is None or (
        len(old) == len(shape) and all(a is None or a <= 0 or a == b for a, b in zip(old[1:], shape[1:], strict=True))
    )
    if not fits:
        raise ModelError(f"--shape {value.name}={given}: the file says {_shown(value)}")
    set_shape(value, shape)


def set_shape(value: ValueInfoProto, shape: tuple[int | str, ...]) -> None:
    """Declare a shape; a string is the name of a symbolic dimension."""
    kind = value.type.tensor_type
    kind.ClearField("shape")
    kind.shape.SetInParent()
    for extent in shape:
        dim = kind.shape.dim.add()
        if isinstance(extent, str):
            dim.dim_param = extent
        else:
            dim.dim_value = extent


def _shown(value: ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "[" + ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims) + "]"


def _check_dimensions(value: ValueInfoProto) -> None:
    shape = shape_of(value)
    if shape is None:
        raise ModelError(f"input {value.name!r} has no shape: give it with --shape {value.name}=1,3,32,32")
    dynamic = [index for index, extent in enumerate(shape) if index and (extent is None or extent <= 0)]
    if dynamic:
        usual = {1: 3}
        example = ",".join(
            str(1 if i == 0 else usual.get(i, 32) if i in dynamic else extent) for i, extent in enumerate(shape)
        )
        raise ModelError(
            f"input {value.name!r} has the dynamic shape {_shown(value)}: only the first dimension, the batch, may be "
            f"dynamic; give the shape with --shape {value.name}={example}"
        )
    if any(extent is not None and extent >= _DIMENSION_LIMIT for extent in shape):
        raise ModelError(f"input {value.name!r} has the absurd shape {_shown(value)} (limit {_DIMENSION_LIMIT})")
    if math.prod(extent or 1 for extent in shape) > ELEMENT_LIMIT:
        raise ModelError(f"input {value.name!r} has the absurd shape {_shown(value)} (limit {ELEMENT_LIMIT} elements)")
    if shape and (shape[0] is None or shape[0] <= 0):
        rest = tuple(extent for extent in shape[1:] if extent is not None)
        set_shape(value, (BATCH_NAME, *rest))


def file_batch(graph: Graph) -> int | None:
    """The batch that the file fixes, None if it is symbolic (or there is no input)."""
    shapes = [graph.shape(value.name) for value in graph.inputs]
    return next((shape[0] for shape in shapes if shape), None)


def set_batch(model: ModelProto, batch: int | None) -> ModelProto:
    """A model of the wanted batch, with inferred shapes; None keeps what the file has.

    Reshapes that bake the old batch in are freed where that is legal. Raises ModelError where the network
    itself depends on its batch.
    """
    if batch is not None and not 0 < batch < _DIMENSION_LIMIT:
        raise ModelError(f"batch {batch}: must be from 1 to {_DIMENSION_LIMIT}")
    graph = Graph(model)
    old = file_batch(graph)
    free_reshapes(graph, old)
    for value in graph.outputs:
        value.type.tensor_type.ClearField("shape")
    model = graph.model()
    if batch is None:
        if old is None:
            _check_scaling(model, 1, 2)
    elif batch != old:
        _check_scaling(model, old or 1, batch)
        _set_inputs(model, len(model.graph.input), batch)
    return infer_shapes(model)


def _set_inputs(model: ModelProto, inputs: int, batch: int) -> None:
    """Give the first ``inputs`` of a model's inputs this batch."""
    for value in model.graph.input[:inputs]:
        shape = shape_of(value)
        if shape:
            set_shape(value, (batch, *(extent or 1 for extent in shape[1:])))


def _at_batch(model: ModelProto, batch: int) -> Graph:
    """The shapes of a model with this batch, without its large constants."""
    probe = light_copy(model)
    _set_inputs(probe, len(model.graph.input), batch)
    return Graph(infer_shapes(probe))


def free_reshapes(graph: Graph, batch: int | None) -> None:
    """Let the first extent of each Reshape that splits off exactly the batch be computed (-1)."""
    baked = 1 if batch is None else batch
    for node in graph.nodes:
        target = graph.array(node.input[1]) if node.op_type == "Reshape" else None
        shape = graph.shape(node.input[0]) if target is not None else None
        if target is None or not shape or None in shape[1:] or target.ndim != 1 or len(target) < 1:
            continue
        inner = math.prod(extent or 1 for extent in shape[1:])
        wanted = [int(extent) for extent in target]
        if wanted[0] != baked or 0 in wanted or shape[0] not in (batch, None):
            continue
        if -1 in wanted:
            known = -math.prod(wanted[1:])
            if known <= 0 or inner % known:
                continue
            wanted[wanted.index(-1)] = inner // known
        if math.prod(wanted[1:]) == inner:
            name = graph.fresh(f"{node.input[1]}_free")
            node.input[1] = graph.add_constant(name, np.array([-1, *wanted[1:]], dtype=np.int64))
    graph.drop_dead()


def _check_scaling(model: ModelProto, old: int, new: int) -> None:
    """Every tensor that a node makes must grow with the batch, but those made of constants only. Raises ModelError."""
    before, after = (_at_batch(model, batch) for batch in (old, new))
    fixed = set(Graph(model).constants)
    for node in after.nodes:
        if node.input and all(not name or name in fixed for name in node.input):
            fixed.update(node.output)
            continue
        for name in node.output:
            shapes = before.shape(name), after.shape(name)
            if name not in after.infos or after.infos[name].type.tensor_type.elem_type != TensorProto.FLOAT:
                continue  # shapes and indices, which are computed too, do not grow
            if shapes[0] is None or shapes[1] is None or None in shapes[0] or None in shapes[1]:
                continue
            counts = [math.prod(extent or 0 for extent in shape) for shape in shapes if shape is not None]
            if counts[0] * new != counts[1] * old:
                raise ModelError(
                    f"the network is fixed to batch {old} by node {node.name!r} ({node.op_type}): "
                    f"use --batch {old}, or export it with a symbolic batch"
                )
