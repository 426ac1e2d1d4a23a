"""Random float networks of everything that a compiler meets: branches, groups, strides, odd channel counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, int, int]


class RandomGraph:
    """Builds one network, operator by operator, from a seed. Input ``x`` of a symbolic batch, output ``y``."""

    def __init__(self, seed: int, *, most_channels: int = 40, most_size: int = 20) -> None:
        self.rng = np.random.default_rng(seed)
        self._most_channels, self._most_size = most_channels, most_size
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._shapes: dict[str, Shape] = {}
        self.shape: Shape = (self._upto(most_channels), self._upto(most_size, 6), self._upto(most_size, 6))

    def _upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, most + 1))

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _constant(self, value: np.ndarray, kind: type = np.float32) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def _node(self, op: str, inputs: list[str], shape: Shape, **attributes: object) -> str:
        name = f"{op.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        self._shapes[f"{name}_out"] = shape
        return f"{name}_out"

    def _window(self, x: str, most: int) -> tuple[dict[str, list[int]], tuple[int, int]] | None:
        """Kernel, strides, dilations and pads that leave an output; and its size."""
        sizes = self._shapes[x][1:]
        kernel = [self._upto(min(most, size)) for size in sizes]
        strides, dilations = [self._upto(2), self._upto(2)], [1 + self._chance(0.15), 1 + self._chance(0.15)]
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        pads = [min(self._upto(2, 0), r) for r in (*reach, *reach)]
        left = [size + pads[i] + pads[i + 2] - reach[i] - 1 for i, size in enumerate(sizes)]
        if min(left) < 0:
            return None
        made = left[0] // strides[0] + 1, left[1] // strides[1] + 1
        return {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}, made

    # Operators -----------------------------------------------------------------------------
    def conv(self, x: str) -> str:
        """A convolution of one group, several, or one for each channel; perhaps an activation."""
        found = self._window(x, 5)
        if found is None:
            return x
        named, size = found
        channels = self._shapes[x][0]
        divisors = [count for count in range(1, channels + 1) if channels % count == 0]
        groups = int(self.rng.choice([1, 1, channels, int(self.rng.choice(divisors))]))
        out = channels if groups == channels else groups * self._upto(max(1, self._most_channels // groups))
        depth = channels // groups
        deviation = np.sqrt(2 / (depth * np.prod(named["kernel_shape"])))
        weight = self._constant(self.rng.normal(0, deviation, (out, depth, *named["kernel_shape"])))
        inputs = [x, weight] + ([self._constant(self.rng.normal(0, 0.1, out))] if self._chance(0.7) else [])
        return self._activation(self._node("Conv", inputs, (out, *size), group=groups, **named))

    def _activation(self, x: str) -> str:
        kind = self.rng.integers(4)
        if kind == 0:
            return x
        if kind == 1:
            limits = [self._constant(np.array(value)) for value in (0.0, self.rng.uniform(1, 4))]
            return self._node("Clip", [x, *limits], self._shapes[x])
        return self._node("Relu", [x], self._shapes[x])

    def residual(self, x: str) -> str:
        """A branch of one or two 3x3 convolutions, added to its input."""
        channels = self._shapes[x][0]
        y = x
        for _ in range(self._upto(2)):
            weight = self._constant(self.rng.normal(0, np.sqrt(2 / (9 * channels)), (channels, channels, 3, 3)))
            y = self._activation(self._node("Conv", [y, weight], self._shapes[x], pads=[1, 1, 1, 1]))
        return self._activation(self._node("Add", [y, x], self._shapes[x]))

    def concat(self, x: str) -> str:
        """Two convolutions of one input, side by side."""
        left, right = (self._pointwise(x) for _ in range(2))
        channels = self._shapes[left][0] + self._shapes[right][0]
        return self._node("Concat", [left, right], (channels, *self._shapes[x][1:]), axis=1)

    def _pointwise(self, x: str) -> str:
        channels, out = self._shapes[x][0], self._upto(self._most_channels)
        weight = self._constant(self.rng.normal(0, np.sqrt(2 / channels), (out, channels, 1, 1)))
        return self._activation(self._node("Conv", [x, weight], (out, *self._shapes[x][1:])))

    def pool(self, x: str) -> str:
        """A maximum or an average."""
        found = self._window(x, 3)
        if found is None:
            return x
        named, _ = found
        del named["dilations"]
        sizes = [
            (side + named["pads"][i] + named["pads"][i + 2] - named["kernel_shape"][i]) // named["strides"][i] + 1
            for i, side in enumerate(self._shapes[x][1:])
        ]
        if min(sizes) < 1 or any(p >= k for p, k in zip(named["pads"], named["kernel_shape"] * 2, strict=True)):
            return x
        kind = "MaxPool" if self._chance(0.6) else "AveragePool"
        return self._node(kind, [x], (self._shapes[x][0], sizes[0], sizes[1]), **named)

    def conv_transpose(self, x: str) -> str:
        """A transposed convolution of one group or several, as long as the image stays small."""
        channels, *sizes = self._shapes[x]
        if max(sizes) > self._most_size:
            return x
        kernel, strides = [self._upto(4), self._upto(4)], [self._upto(3), self._upto(3)]
        pads = [self._upto(min(1, k - 1), 0) for k in kernel * 2]
        extra = [self._upto(stride, 1) - 1 for stride in strides]
        made = [(sizes[i] - 1) * strides[i] + kernel[i] + extra[i] - pads[i] - pads[i + 2] for i in range(2)]
        if min(made) < 1:
            return x
        groups = int(self.rng.choice([count for count in range(1, channels + 1) if channels % count == 0][:3]))
        out = groups * self._upto(max(1, self._most_channels // groups))
        deviation = np.sqrt(2 * np.prod(strides) / (channels // groups * np.prod(kernel)))
        weight = self._constant(self.rng.normal(0, deviation, (channels, out // groups, *kernel)))
        named = {"kernel_shape": kernel, "strides": strides, "pads": pads, "output_padding": extra, "group": groups}
        return self._activation(self._node("ConvTranspose", [x, weight], (out, *made), **named))

    def scale(self, x: str) -> str:
        """A product with one constant a channel."""
        factors = self._constant(self.rng.uniform(0.5, 1.5, (1, self._shapes[x][0], 1, 1)))
        return self._node("Mul", [x, factors], self._shapes[x])

    def upsample(self, x: str) -> str:
        """Every value twice, in both directions."""
        channels, height, width = self._shapes[x]
        if max(height, width) > self._most_size:
            return x
        factors = self._constant(np.array([1, 1, 2, 2]))
        named = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", [x, "", factors], (channels, 2 * height, 2 * width), **named)

    def pad(self, x: str) -> str:
        """Zeros around the image."""
        amounts = [self._upto(2, 0) for _ in range(4)]
        channels, height, width = self._shapes[x]
        pads = self._constant(np.array([0, 0, *amounts[:2], 0, 0, *amounts[2:]]), np.int64)
        return self._node(
            "Pad", [x, pads], (channels, height + amounts[0] + amounts[2], width + amounts[1] + amounts[3])
        )

    def head(self, x: str) -> str:
        """Pooling over the image or flattening, then one or two dense layers."""
        shape = self._shapes[x]
        if self._chance(0.6) or np.prod(shape) > 2000:
            x = self._node("GlobalAveragePool", [x], (shape[0], 1, 1))
        size = int(np.prod(self._shapes[x]))
        y = self._node("Flatten", [x], (size, 1, 1))
        for _ in range(self._upto(2)):
            out = self._upto(30)
            weight = self._constant(self.rng.normal(0, np.sqrt(2 / size), (out, size)))
            y = self._node("Gemm", [y, weight, self._constant(self.rng.normal(0, 0.1, out))], (out, 1, 1), transB=1)
            size = out
        return y

    def build(self, operators: int) -> onnx.ModelProto:
        """The network: that many operators one behind the other, and perhaps a head."""
        self._shapes["x"] = self.shape
        # The first one has weights: behind it there are integers.
        steps: list[Callable[[str], str]] = [self.conv]
        kinds = (
            [self.conv] * 3
            + [self.residual] * 2
            + [self.concat, self.pool, self.scale, self.upsample, self.pad, self.conv_transpose]
        )
        steps += [kinds[int(self.rng.integers(len(kinds)))] for _ in range(operators - 1)]
        y = "x"
        for step in steps:
            y = step(y)
        if self._chance(0.6):
            y = self.head(y)
        if y == "x":
            y = self._pointwise(y)
        ends = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)]
        start = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self.shape])
        graph = helper.make_graph(self._nodes, "random", [start], ends, self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def images(self, count: int) -> np.ndarray:
        """Inputs of the network."""
        return self.rng.normal(0, 1, (count, *self.shape)).astype(np.float32)
