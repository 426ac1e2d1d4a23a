"""Residual networks: ResNet-18, 34 and 50 as on ImageNet, ResNet-8 as in MLPerf Tiny."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from .builder import NetworkBuilder

_BRANCH_GAIN = 0.5
"""BatchNormalization gain at the end of a residual branch, as trained networks have: the sum stays in range."""
_SHORTCUT_GAIN = 0.7
"""And of a convolution on the shortcut, which no Relu halves."""
_BOTTLENECK = 4
"""Output channels of a bottleneck block for each of its inner ones."""


def _shortcut(net: NetworkBuilder, name: str, source: str, channels: int, stride: int) -> str:
    """The block's input, by a 1x1 convolution where the shape changes."""
    if stride == 1 and net.channels(source) == channels:
        return source
    out = net.conv(f"{name}.downsample", source, channels, 1, stride=stride)
    return net.batch_norm(f"{name}.downsample_bn", out, gain=_SHORTCUT_GAIN)


def basic_block(net: NetworkBuilder, name: str, source: str, channels: int, stride: int) -> str:
    """Two 3x3 convolutions and a shortcut."""
    out = net.conv(f"{name}.conv1", source, channels, 3, stride=stride)
    out = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", out))
    out = net.batch_norm(f"{name}.bn2", net.conv(f"{name}.conv2", out, channels, 3), gain=_BRANCH_GAIN)
    return net.relu(f"{name}.relu2", net.add(f"{name}.add", out, _shortcut(net, name, source, channels, stride)))


def bottleneck_block(net: NetworkBuilder, name: str, source: str, channels: int, stride: int) -> str:
    """1x1 to ``channels``, 3x3 with the stride (version 1.5), 1x1 to four times as many, and a shortcut."""
    out = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", net.conv(f"{name}.conv1", source, channels, 1)))
    out = net.conv(f"{name}.conv2", out, channels, 3, stride=stride)
    out = net.relu(f"{name}.relu2", net.batch_norm(f"{name}.bn2", out))
    wide = channels * _BOTTLENECK
    out = net.batch_norm(f"{name}.bn3", net.conv(f"{name}.conv3", out, wide, 1), gain=_BRANCH_GAIN)
    return net.relu(f"{name}.relu3", net.add(f"{name}.add", out, _shortcut(net, name, source, wide, stride)))


Block = Callable[[NetworkBuilder, str, str, int, int], str]


def _imagenet(name: str, seed: int, block: Block, counts: tuple[int, int, int, int]) -> ModelProto:
    """Stem, four stages of ``counts`` blocks, mean, dense layer."""
    net = NetworkBuilder(name, seed, (3, 224, 224))
    out = net.conv("conv1", "input", 64, 7, stride=2)
    out = net.relu("relu1", net.batch_norm("bn1", out))
    out = net.max_pool("maxpool", out, 3, stride=2, pad=1)
    for stage, count in enumerate(counts):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            out = block(net, f"layer{stage + 1}.{number}", out, 64 << stage, stride)
    out = net.flatten("flatten", net.global_average_pool("avgpool", out))
    return net.model(net.dense("fc", out, 1000))


def resnet18(seed: int = 0) -> ModelProto:
    """ResNet-18: input [N, 3, 224, 224] normalised, output [N, 1000] logits; 1.81 G multiply-accumulates."""
    return _imagenet("resnet18", seed, basic_block, (2, 2, 2, 2))


def resnet34(seed: int = 0) -> ModelProto:
    """ResNet-34: ports as ResNet-18; 3.66 G multiply-accumulates."""
    return _imagenet("resnet34", seed, basic_block, (3, 4, 6, 3))


def resnet50(seed: int = 0) -> ModelProto:
    """ResNet-50 v1.5: ports as ResNet-18; 4.09 G multiply-accumulates."""
    return _imagenet("resnet50", seed, bottleneck_block, (3, 4, 6, 3))


def resnet8(seed: int = 0) -> ModelProto:
    """MLPerf Tiny's ResNet-8: input [N, 3, 32, 32], output [N, 10] probabilities; 12.5 M multiply-accumulates.

    As there, the shortcut convolutions have no BatchNormalization, and padding is TensorFlow's "same".
    """
    net = NetworkBuilder("resnet8", seed, (3, 32, 32))
    out = net.conv("conv1", "input", 16, 3, bias=True)
    out = net.relu("relu1", net.batch_norm("bn1", out))
    for stage, channels in enumerate((16, 32, 64), start=1):
        name, stride = f"stack{stage}", 1 if stage == 1 else 2
        branch = net.conv(f"{name}.conv1", out, channels, 3, stride=stride, bias=True, same=True)
        branch = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", branch))
        branch = net.conv(f"{name}.conv2", branch, channels, 3, bias=True)
        branch = net.batch_norm(f"{name}.bn2", branch, gain=_BRANCH_GAIN)
        if stride != 1:
            out = net.conv(f"{name}.shortcut", out, channels, 1, stride=stride, bias=True, same=True)
        out = net.relu(f"{name}.relu2", net.add(f"{name}.add", out, branch))
    out = net.flatten("flatten", net.global_average_pool("avgpool", out))
    return net.model(net.softmax("softmax", net.dense("dense", out, 10)))
