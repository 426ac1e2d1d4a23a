"""Small QDQ networks with random integer weights, made without the quantizer."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from vta_arch.config import VTAConfig

_TYPES = {
    (8, True): TensorProto.INT8,
    (8, False): TensorProto.UINT8,
    (4, True): TensorProto.INT4,
    (4, False): TensorProto.UINT4,
    (2, True): TensorProto.INT2,
    (2, False): TensorProto.UINT2,
}


class QdqBuilder:
    """Builds a QDQ network for the widths of a configuration, node by node.

    With ``any_scale`` scales are no powers of two and 8-bit activations have zero points; ``zero_points`` bounds them.
    """

    def __init__(self, cfg: VTAConfig, seed: int = 0, *, any_scale: bool = False, zero_points: int = 30) -> None:
        self.cfg, self.rng = cfg, np.random.default_rng(seed)
        self.any_scale, self.zero_points = any_scale, zero_points
        self.scales: dict[str, float] = {}
        """Scale of each dequantized activation."""
        self.weight_scales = np.ones(0, np.float32)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.kind = _TYPES[(max(cfg.inp_width, 2), cfg.inp_is_signed)]
        self.wide = (10, 21) if min(cfg.inp_width, cfg.wgt_width) == 4 else (8, 17)
        if min(cfg.inp_width, cfg.wgt_width) < 4:
            self.wide = (13, 25)

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, name: str, values: np.ndarray, width: int) -> str:
        kind = _TYPES[(max(width, 2), True)]
        self.initializers.append(helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist()))
        return name

    def pair(self, name: str, exponent: int) -> str:
        """QuantizeLinear and DequantizeLinear behind ``name``; the real tensor's new name."""
        value = self.spread(np.array(2.0**exponent)).astype(np.float32)
        scale = self.constant(f"{name}_scale", value)
        self.scales[f"{name}_dq"] = float(value)
        source = name
        if self.cfg.inp_width == 1:
            top = self.constant(f"{name}_top", np.array(2.0**exponent, np.float32))
            zero = self.constant(f"{name}_floor", np.array(0, np.float32))
            source = self.node("Clip", [name, zero, top], f"{name}_clip")
        extra = {}
        ins = [scale]
        if self.wide[0] == 8:
            kind = np.int8 if self.cfg.inp_is_signed else np.uint8
            ins.append(self.constant(f"{name}_zero", np.array(self.zero_point(), kind)))
        else:
            extra = {"output_dtype": self.kind}
        self.node("QuantizeLinear", [source, *ins], f"{name}_q", **extra)
        return self.node("DequantizeLinear", [f"{name}_q", *ins], f"{name}_dq")

    def spread(self, scales: np.ndarray) -> np.ndarray:
        """Powers of two, or with ``any_scale`` other numbers near them."""
        return scales * self.rng.uniform(0.7, 1.4, scales.shape) if self.any_scale else scales

    def zero_point(self) -> int:
        if not self.any_scale:
            return 0
        middle = 0 if self.cfg.inp_is_signed else 128
        return middle + int(self.rng.integers(-self.zero_points, self.zero_points + 1))

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        if op == "Flatten" and inputs[0] in self.scales:
            self.scales[output] = self.scales[inputs[0]]
        return output

    def input(self, name: str, shape: tuple[int | str, ...], exponent: int = -3) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self.pair(name, exponent)

    def weight(self, name: str, shape: tuple[int, ...], exponents: np.ndarray) -> str:
        high = 1 if self.cfg.wgt_width == 1 else (1 << (self.cfg.wgt_width - 1)) - 1
        values = self.rng.integers(-high, high + 1, shape)
        if self.cfg.wgt_width == 1:
            values = np.where(values >= 0, 1, -1)
        stored = self.integers(f"{name}_q", values, self.cfg.wgt_width)
        value = self.spread(2.0**exponents).astype(np.float32)
        scale = self.constant(f"{name}_scale", value)
        self.weight_scales = value
        return self.node("DequantizeLinear", [stored, scale], f"{name}_dq", axis=0)

    def bias(self, name: str, scales: np.ndarray, spread: int) -> str:
        stored = self.constant(f"{name}_q", self.rng.integers(-spread, spread + 1, scales.shape).astype(np.int32))
        scale = self.constant(f"{name}_scale", scales.astype(np.float32))
        return self.node("DequantizeLinear", [stored, scale], f"{name}_dq", axis=0)

    def conv(
        self,
        x: str,
        name: str,
        shape: tuple[int, int, int, int],
        *,
        x_exponent: int = -3,
        exponent: int = -3,
        relu: bool = False,
        per_channel: bool = True,
        bias: bool = True,
        dense: bool = False,
        **attributes: object,
    ) -> str:
        """A Conv (or with ``dense`` a Gemm) of weight ``shape``, its output of scale 2**exponent."""
        reduction = int(np.prod(shape[1:]))
        growth = int(np.ceil(np.log2(max(reduction, 2)) / 2)) + self.cfg.wgt_width - 2
        exponents = np.full(shape[0], exponent - x_exponent - max(growth, 0))
        if per_channel:
            exponents = exponents + self.rng.integers(-1, 2, shape[0])
        ins = [x, self.weight(f"{name}_w", shape[:2] if dense else shape, exponents)]
        if bias:
            scales = self.weight_scales * np.float32(self.scales.get(x, 2.0**x_exponent))
            ins.append(self.bias(f"{name}_b", scales, 64))
        y = self.node("Gemm", ins, name, transB=1) if dense else self.node("Conv", ins, name, **attributes)
        if relu:
            y = self.node("Relu", [y], f"{name}_relu")
        return self.pair(y, exponent)

    def add(self, a: str, b: str, name: str, *, exponent: int = -3, relu: bool = False) -> str:
        y = self.node("Add", [a, b], name)
        if relu:
            y = self.node("Relu", [y], f"{name}_relu")
        return self.pair(y, exponent)

    def model(self, *outputs: str) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "random", self.inputs, ends, self.initializers)
        ir, opset = self.wide
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def residual_network(
    cfg: VTAConfig, seed: int, channels: tuple[int, int] = (10, 20), size: int = 9, *, any_scale: bool = False
) -> onnx.ModelProto:
    """Stem, a strided block with a 1x1 shortcut and a residual add, average pool, dense."""
    first, second = channels
    net = QdqBuilder(cfg, seed, any_scale=any_scale)
    x = net.input("x", ("N", 3, size, size))
    stem = net.conv(x, "stem", (first, 3, 3, 3), relu=True, pads=[1, 1, 1, 1])
    left = net.conv(stem, "left1", (second, first, 3, 3), relu=True, pads=[1, 1, 1, 1], strides=[2, 2])
    left = net.conv(left, "left2", (second, second, 3, 3), exponent=-2, pads=[1, 1, 1, 1])
    right = net.conv(stem, "short", (second, first, 1, 1), strides=[2, 2], per_channel=False)
    total = net.add(left, right, "sum", relu=True)
    pooled = net.pair(net.node("GlobalAveragePool", [total], "pool"), -3)
    flat = net.node("Flatten", [pooled], "flat")
    return net.model(net.conv(flat, "dense", (7, second, 1, 1), dense=True))
