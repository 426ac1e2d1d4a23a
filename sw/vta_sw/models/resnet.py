"""Residual networks: ResNet-18 as on ImageNet, ResNet-8 as in MLPerf Tiny."""

from __future__ import annotations

from onnx import ModelProto

from .builder import NetworkBuilder

_BRANCH_GAIN = 0.5
"""BatchNormalization gain at the end of a residual branch, as trained networks have: the sum stays in range."""


def basic_block(net: NetworkBuilder, name: str, source: str, channels: int, stride: int, *, bias: bool = False) -> str:
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes.

    ``bias``: convolutions have biases beside the BatchNormalization.
    """
    out = net.conv(f"{name}.conv1", source, channels, 3, stride=stride, bias=bias)
    out = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", out))
    out = net.conv(f"{name}.conv2", out, channels, 3, bias=bias)
    out = net.batch_norm(f"{name}.bn2", out, gain=_BRANCH_GAIN)
    shortcut = source
    if stride != 1 or net.channels(source) != channels:
        shortcut = net.conv(f"{name}.downsample", source, channels, 1, stride=stride, bias=bias)
        shortcut = net.batch_norm(f"{name}.downsample_bn", shortcut)
    return net.relu(f"{name}.relu2", net.add(f"{name}.add", out, shortcut))


def resnet18(seed: int = 0) -> ModelProto:
    """ResNet-18: input [N, 3, 224, 224] normalised, output [N, 1000] logits; 1.81 G multiply-accumulates."""
    net = NetworkBuilder("resnet18", seed, (3, 224, 224))
    out = net.conv("conv1", "input", 64, 7, stride=2)
    out = net.relu("relu1", net.batch_norm("bn1", out))
    out = net.max_pool("maxpool", out, 3, stride=2, pad=1)
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            out = basic_block(net, f"layer{stage}.{block}", out, channels, stride)
    out = net.flatten("flatten", net.global_average_pool("avgpool", out))
    return net.model(net.dense("fc", out, 1000))


def resnet8(seed: int = 0) -> ModelProto:
    """MLPerf Tiny's ResNet-8: input [N, 3, 32, 32], output [N, 10] probabilities; 12.5 M multiply-accumulates.

    As there, the shortcut convolutions have no BatchNormalization.
    """
    net = NetworkBuilder("resnet8", seed, (3, 32, 32))
    out = net.conv("conv1", "input", 16, 3, bias=True)
    out = net.relu("relu1", net.batch_norm("bn1", out))
    for stage, channels in enumerate((16, 32, 64), start=1):
        name, stride = f"stack{stage}", 1 if stage == 1 else 2
        branch = net.conv(f"{name}.conv1", out, channels, 3, stride=stride, bias=True)
        branch = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", branch))
        branch = net.batch_norm(
            f"{name}.bn2", net.conv(f"{name}.conv2", branch, channels, 3, bias=True), gain=_BRANCH_GAIN
        )
        if stride != 1:
            out = net.conv(f"{name}.shortcut", out, channels, 1, stride=stride, bias=True)
        out = net.relu(f"{name}.relu2", net.add(f"{name}.add", out, branch))
    out = net.flatten("flatten", net.global_average_pool("avgpool", out))
    return net.model(net.softmax("softmax", net.dense("dense", out, 10)))
