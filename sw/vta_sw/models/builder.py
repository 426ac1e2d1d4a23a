"""Building float ONNX networks with seeded random weights, one call an operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Window:
    """A window that slides over height and width. ``pad``: on all sides; None: as TensorFlow's "same"."""

    kernel: tuple[int, int]
    stride: int
    pad: int | None

    def pads(self, size: int, kernel: int) -> tuple[int, int]:
        """Padding before and after an axis. "same": ceil(size / stride) windows, the odd element behind."""
        if self.pad is not None:
            return self.pad, self.pad
        outputs = -(-size // self.stride)
        total = max(0, (outputs - 1) * self.stride + kernel - size)
        return total // 2, total - total // 2


class NetworkBuilder:
    """Collects nodes and weights; every method takes and returns tensor names.

    Weights are He-initialised and BatchNormalization has statistics near those of a trained network, so that
    activations neither vanish nor grow with depth. The same seed gives the same bytes.
    """

    def __init__(self, name: str, seed: int, input_shape: Sequence[int]) -> None:
        """``input_shape``: without the batch, which is the symbolic dimension ``N``."""
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._shapes: dict[str, tuple[int, ...]] = {"input": tuple(input_shape)}
        self._input = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *input_shape])

    def channels(self, tensor: str) -> int:
        """Channels (axis 1) of a tensor."""
        return self._shapes[tensor][0]

    def size(self, tensor: str) -> tuple[int, ...]:
        """Height and width of a tensor; nothing for a vector."""
        return self._shapes[tensor][1:]

    def _weight(self, name: str, values: NDArray[np.floating]) -> str:
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def _node(self, op_type: str, name: str, inputs: list[str], shape: tuple[int, ...], **attributes: object) -> str:
        self._nodes.append(helper.make_node(op_type, inputs, [f"{name}_out"], name=name, **attributes))
        self._shapes[f"{name}_out"] = shape
        return f"{name}_out"

    def _slide(self, source: str, windows: Window) -> tuple[tuple[int, ...], dict[str, object]]:
        """Height and width after sliding a window, and the attributes that say so."""
        pairs = list(zip(self.size(source), windows.kernel, strict=True))
        before, after = zip(*(windows.pads(size, kernel) for size, kernel in pairs), strict=True)
        sizes = [
            (size + low + high - kernel) // windows.stride + 1
            for (size, kernel), low, high in zip(pairs, before, after, strict=True)
        ]
        strides = [windows.stride] * len(sizes)
        return tuple(sizes), {"kernel_shape": windows.kernel, "strides": strides, "pads": [*before, *after]}

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        group: int = 1,
        bias: bool = False,
        same: bool = False,
    ) -> str:
        """Convolution, padded by half the kernel on all sides, or as TensorFlow's "same" does."""
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        depth = self.channels(source) // group
        deviation = math.sqrt(2.0 / (depth * sides[0] * sides[1]))
        weight = self._rng.normal(0.0, deviation, (channels, depth, *sides))
        inputs = [source, self._weight(f"{name}.weight", weight)]
        if bias:
            inputs.append(self._weight(f"{name}.bias", self._rng.normal(0.0, 0.05, channels)))
        size, attributes = self._slide(source, Window(sides, stride, None if same else sides[0] // 2))
        return self._node("Conv", name, inputs, (channels, *size), **attributes, group=group)

    def batch_norm(self, name: str, source: str, *, gain: float = 1.0) -> str:
        """BatchNormalization whose scale averages ``gain``."""
        channels = self.channels(source)
        values = {
            "scale": gain * self._rng.uniform(0.7, 1.3, channels),
            "bias": self._rng.normal(0.0, 0.2, channels),
            "mean": self._rng.normal(0.0, 0.2, channels),
            "var": self._rng.uniform(0.7, 1.4, channels),
        }
        inputs = [source, *(self._weight(f"{name}.{key}", value) for key, value in values.items())]
        return self._node("BatchNormalization", name, inputs, self._shapes[source], epsilon=1e-5)

    def relu(self, name: str, source: str) -> str:
        """Relu."""
        return self._node("Relu", name, [source], self._shapes[source])

    def clip(self, name: str, source: str, low: float, high: float) -> str:
        """Clip to [low, high]."""
        bounds = [self._weight(f"{name}.{key}", np.array(value)) for key, value in (("low", low), ("high", high))]
        return self._node("Clip", name, [source, *bounds], self._shapes[source])

    def add(self, name: str, left: str, right: str) -> str:
        """Addition of two tensors of one shape."""
        return self._node("Add", name, [left, right], self._shapes[left])

    def max_pool(self, name: str, source: str, kernel: int, *, stride: int, pad: int = 0) -> str:
        """Square maximum pooling."""
        size, attributes = self._slide(source, Window((kernel, kernel), stride, pad))
        return self._node("MaxPool", name, [source], (self.channels(source), *size), **attributes)

    def global_average_pool(self, name: str, source: str) -> str:
        """Mean over height and width."""
        return self._node("GlobalAveragePool", name, [source], (self.channels(source), 1, 1))

    def flatten(self, name: str, source: str) -> str:
        """[N, C, H, W] to [N, C * H * W]."""
        return self._node("Flatten", name, [source], (math.prod(self._shapes[source]),), axis=1)

    def dense(self, name: str, source: str, channels: int, *, gain: float = 1.0) -> str:
        """Gemm with weights [out, in] and a bias; ``gain``: 2 where Relu follows, which drops half of the power."""
        depth = self.channels(source)
        weight = self._weight(f"{name}.weight", self._rng.normal(0.0, math.sqrt(gain / depth), (channels, depth)))
        bias = self._weight(f"{name}.bias", self._rng.normal(0.0, 0.05, channels))
        return self._node("Gemm", name, [source, weight, bias], (channels,), transB=1)

    def softmax(self, name: str, source: str) -> str:
        """Softmax over the classes."""
        return self._node("Softmax", name, [source], self._shapes[source], axis=1)

    def model(self, source: str, output: str = "output") -> ModelProto:
        """The model whose output, called ``output``, is the tensor ``source``."""
        for node in self._nodes:
            node.output[0] = output if node.output[0] == source else node.output[0]
        result: ValueInfoProto = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *self._shapes[source]])
        graph = helper.make_graph(self._nodes, self._name, [self._input], [result], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "vta-codesign"
        return model
