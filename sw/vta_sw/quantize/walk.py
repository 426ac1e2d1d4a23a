"""Values of tensors all along a network, each computed from the nearest ones that are already known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from vta_arch.layout import rows_of_images

from ..frontend.graph import Graph, reads
from ..frontend.session import open_session, run_session
from .samples import batches

Values = NDArray[np.float32]

_KEPT_BYTES = 512 << 20
"""Values beyond this are forgotten, the oldest first, and computed again when they are needed."""
_BATCH = 32
_IR_VERSION = 10


class Walk:
    """``graph`` run over ``inputs``, whose layers may change behind what has been asked for.

    A network that fixes its batch runs in batches of that size; a last part of one is left out.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        self._graph = graph
        first = graph.shape(graph.inputs[0].name)
        fixed = first[0] if first else None
        self._batch = fixed or _BATCH
        samples = len(next(iter(inputs.values())))
        count = samples // fixed * fixed if fixed and samples >= fixed else samples
        self._given = {name: array[:count] for name, array in inputs.items()}
        self._samples = count
        self._fixed = fixed is not None
        self._known: dict[str, Values] = {}

    def value(self, name: str) -> Values:
        """A tensor's values, samples first. Raises ModelError when the network cannot be run."""
        if name in self._given:
            return np.asarray(self._given[name], np.float32)
        if name not in self._known:
            self._known[name] = self._compute(name)
            self._forget(name)
        return self._known[name]

    def discard(self, name: str) -> None:
        """Forget a tensor, because what makes it has changed."""
        self._known.pop(name, None)

    def _forget(self, last: str) -> None:
        total = sum(value.nbytes for value in self._known.values())
        for name in list(self._known):
            if total <= _KEPT_BYTES or name == last:
                break
            total -= self._known.pop(name).nbytes

    def _compute(self, name: str) -> Values:
        nodes, sources = self._between(name)
        names = sorted({item for node in nodes for item in reads(node) if item in self._graph.constants})
        kinds = {value.name: value.type.tensor_type.elem_type for value in self._graph.inputs}
        graph = helper.make_graph(
            nodes,
            "part",
            [helper.make_tensor_value_info(item, kinds.get(item, TensorProto.FLOAT), None) for item in sources],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        opset = [helper.make_opsetid("", self._graph.opset)]
        constants = [self._graph.constants[item] for item in names]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        session = open_session(model, constants=constants)
        parts = []
        for chunk, count in self._chunks(sources):
            made = np.asarray(run_session(session, [name], chunk)[0], np.float32)
            parts.append(rows_of_images(made, count, self._batch if self._fixed else count))
        return np.concatenate(parts)

    def _chunks(self, sources: list[str]) -> Iterator[tuple[dict[str, NDArray[np.generic]], int]]:
        """Known tensors in batches, and how many samples of each count; a tensor may have several rows a sample."""
        feeds = {item: self._given[item] if item in self._given else self._known[item] for item in sources}
        rows = {item: value.reshape(self._samples, -1, *value.shape[1:]) for item, value in feeds.items()}
        for chunk, count in batches(rows, self._batch, self._fixed):
            yield {item: value.reshape(-1, *feeds[item].shape[1:]) for item, value in chunk.items()}, count

    def _between(self, name: str) -> tuple[list[NodeProto], list[str]]:
        """The nodes from known tensors to ``name``, in order, and these tensors."""
        makers = self._graph.producers()
        needed, waiting, sources = set(), [name], set()
        while waiting:
            item = waiting.pop()
            if item in self._given or (item in self._known and item != name):
                sources.add(item)
            elif item in makers and id(makers[item]) not in needed:
                needed.add(id(makers[item]))
                waiting += reads(makers[item])
        return [node for node in self._graph.nodes if id(node) in needed], sorted(sources)
