"""Reshapes and transposes: where the elements of a tensor stood before, and whether that is the same place in tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vta_arch.program import channels_first, nchw_shape

from .view import RESHAPES, GraphView, attributes

Places = NDArray[np.int64]
"""Of each element of a tensor, in the tensor's shape, its index among the elements of an older one."""

PLACES_LIMIT = 1 << 26
"""Elements of a tensor whose moves are followed; larger ones are moved by the CPU."""


def own_places(shape: tuple[int, ...]) -> Places:
    """Each element's own index."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def places_before(view: GraphView, index: int, places: Places) -> Places | None:
    """``places`` in the output of node ``index`` as places in its first input; None where it does not only move."""
    node = view.nodes[index]
    shape = view.shapes.get(node.input[0])
    if node.op_type in RESHAPES:
        return places
    if node.op_type != "Transpose" or shape is None:
        return None
    order = attributes(node).get("perm", tuple(reversed(range(len(shape)))))
    return np.asarray(own_places(shape).transpose(order).reshape(-1)[places])


def stays(shape: tuple[int, ...], places: Places) -> bool:
    """Whether elements that stood in a tensor of ``shape`` at ``places`` stand there still, in tiles.

    Tiles have positions one behind the other: how they are split into rows makes no difference.
    """
    old, new = nchw_shape(shape), nchw_shape(places.shape)
    if old[:2] != new[:2]:
        return False
    return np.array_equal(channels_first(own_places(shape)).reshape(new), channels_first(places))
