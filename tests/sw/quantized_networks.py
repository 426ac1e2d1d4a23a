"""A small float network with one of each thing that quantization meets, and inputs for it."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto
from vta_sw.frontend import open_session, run_session
from vta_sw.models import NetworkBuilder


def small_network(seed: int = 0) -> ModelProto:
    """Convolution, pooling, a residual block, depthwise, dense."""
    net = NetworkBuilder("small", seed, (3, 12, 12))
    out = net.relu("relu1", net.batch_norm("bn1", net.conv("conv1", "input", 8, 3)))
    out = pooled = net.max_pool("pool", out, 2, stride=2)
    out = net.conv("conv2", out, 8, 3, bias=True)
    out = net.clip("clip", net.add("add", out, pooled), 0.0, 6.0)
    out = net.relu("relu3", net.conv("depthwise", out, 8, 3, group=8))
    out = net.relu("relu4", net.conv("conv3", out, 16, 1))
    out = net.flatten("flatten", net.global_average_pool("gap", out))
    return net.model(net.dense("fc", out, 5))


def images(count: int = 16, seed: int = 1) -> np.ndarray:
    """Seeded inputs."""
    return np.random.default_rng(seed).normal(size=(count, 3, 12, 12)).astype(np.float32)


def run(model: ModelProto, x: np.ndarray, name: str = "output") -> np.ndarray:
    """A tensor of the network, in onnxruntime without optimizations."""
    return np.asarray(run_session(open_session(model, exact=True), [name], {"input": x})[0])
