"""Write the trained digits network as ONNX: BatchNorm kept, batch dimension symbolic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

EPSILON = 1e-5
OPSET = 17
IR_VERSION = 8
Arrays = Mapping[str, Mapping[str, NDArray[np.float32]]]


class _Builder:
    """Collects nodes and initializers; each method returns the name of its output."""

    def __init__(self, params: Arrays, running: Arrays, strides: Mapping[str, int]) -> None:
        self.params, self.running, self.strides = params, running, strides
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv_bn(self, name: str, x: str) -> str:
        values, stats, stride = self.params[name], self.running[name], self.strides[name]
        weight = self.constant(f"{name}.weight", values["weight"])
        kernel = list(values["weight"].shape[2:])
        attributes = {"kernel_shape": kernel, "pads": [kernel[0] // 2] * 4, "strides": [stride, stride]}
        y = self.node("Conv", name, [x, weight], **attributes)
        table = {"scale": values["scale"], "bias": values["bias"], "mean": stats["mean"], "var": stats["var"]}
        inputs = [self.constant(f"{name}_bn.{key}", value) for key, value in table.items()]
        return self.node("BatchNormalization", f"{name}_bn", [y, *inputs], epsilon=EPSILON)

    def block(self, stage: str, x: str) -> str:
        y = self.node("Relu", f"{stage}_relu1", [self.conv_bn(f"{stage}_conv1", x)])
        y = self.conv_bn(f"{stage}_conv2", y)
        if f"{stage}_skip" in self.params:
            x = self.conv_bn(f"{stage}_skip", x)
        return self.node("Relu", f"{stage}_relu2", [self.node("Add", f"{stage}_add", [y, x])])


def write(path: Path, params: Arrays, running: Arrays, strides: Mapping[str, int]) -> None:
    """Write the network: input ``x`` float [N, 1, 8, 8], output ``logits`` float [N, 10]."""
    build = _Builder(params, running, strides)
    x = build.node("Relu", "stem_relu", [build.conv_bn("stem", "x")])
    for stage in sorted({name.split("_")[0] for name in params if name.startswith("stage")}):
        x = build.block(stage, x)
    x = build.node("Flatten", "flatten", [build.node("GlobalAveragePool", "pool", [x])])
    dense = [build.constant(f"dense.{key}", params["dense"][key]) for key in ("weight", "bias")]
    build.nodes.append(helper.make_node("Gemm", [x, *dense], ["logits"], name="dense", transB=1))
    graph = helper.make_graph(
        build.nodes,
        "digits_resnet",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(params["dense"]["bias"])])],
        build.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "examples/train_digits.py"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
