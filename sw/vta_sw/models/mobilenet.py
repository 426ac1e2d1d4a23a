"""Networks of depthwise-separable convolutions: MobileNetV1, MobileNetV2, MLPerf Tiny's visual wake words."""

from __future__ import annotations

from onnx import ModelProto

from .builder import NetworkBuilder

_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels and stride of MobileNetV1's separable blocks at width 1.0."""
_V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and first stride of MobileNetV2's stages."""
_LINEAR_GAIN = 0.7
"""BatchNormalization gain of a convolution that no Relu follows."""


class _Separable:
    """Convolutions with BatchNormalization and one kind of Relu, named after each other."""

    def __init__(self, net: NetworkBuilder, *, six: bool, same: bool, bias: bool = False) -> None:
        """``six``: Relu6; ``same``: TensorFlow's padding; ``bias``: convolutions have one beside BatchNormalization."""
        self.net, self._six, self._same, self._bias = net, six, same, bias

    def conv(
        self, name: str, source: str, channels: int, kernel: int, stride: int = 1, *, group: int = 1, act: bool = True
    ) -> str:
        """Convolution and BatchNormalization, with the activation if ``act``."""
        net = self.net
        out = net.conv(name, source, channels, kernel, stride=stride, group=group, bias=self._bias, same=self._same)
        out = net.batch_norm(f"{name}_bn", out, gain=1.0 if act else _LINEAR_GAIN)
        if not act:
            return out
        return net.clip(f"{name}_relu6", out, 0.0, 6.0) if self._six else net.relu(f"{name}_relu", out)

    def depthwise(self, name: str, source: str, stride: int) -> str:
        """Depthwise 3x3."""
        channels = self.net.channels(source)
        return self.conv(name, source, channels, 3, stride, group=channels)

    def inverted_residual(self, name: str, source: str, expansion: int, channels: int, stride: int) -> str:
        """MobileNetV2's block: expand, depthwise, project without activation; a shortcut where the shape is kept."""
        inner = self.net.channels(source)
        out = source if expansion == 1 else self.conv(f"{name}.expand", source, inner * expansion, 1)
        out = self.conv(f"{name}.project", self.depthwise(f"{name}.depthwise", out, stride), channels, 1, act=False)
        return self.net.add(f"{name}.add", out, source) if stride == 1 and inner == channels else out


def _head(net: NetworkBuilder, source: str, classes: int) -> str:
    out = net.flatten("flatten", net.global_average_pool("avgpool", source))
    return net.dense("fc", out, classes)


def _v1(blocks: _Separable, divisor: int) -> str:
    """MobileNetV1 up to its mean, with channels divided by ``divisor``."""
    out = blocks.conv("conv1", "input", 32 // divisor, 3, 2)
    for number, (channels, stride) in enumerate(_V1_BLOCKS, start=1):
        out = blocks.depthwise(f"block{number}.depthwise", out, stride)
        out = blocks.conv(f"block{number}.pointwise", out, channels // divisor, 1)
    return out


def mobilenet_v1(seed: int = 0) -> ModelProto:
    """MobileNetV1 1.0: input [N, 3, 224, 224] normalised, output [N, 1000] logits; 569 M multiply-accumulates."""
    net = NetworkBuilder("mobilenet_v1", seed, (3, 224, 224))
    return net.model(_head(net, _v1(_Separable(net, six=True, same=True), 1), 1000))


def mobilenet_v2(seed: int = 0) -> ModelProto:
    """MobileNetV2 1.0: ports as MobileNetV1; 301 M multiply-accumulates."""
    net = NetworkBuilder("mobilenet_v2", seed, (3, 224, 224))
    blocks = _Separable(net, six=True, same=False)
    out = blocks.conv("conv1", "input", 32, 3, 2)
    number = 0
    for expansion, channels, count, first_stride in _V2_STAGES:
        for repeat in range(count):
            number += 1
            stride = first_stride if repeat == 0 else 1
            out = blocks.inverted_residual(f"block{number}", out, expansion, channels, stride)
    return net.model(_head(net, blocks.conv("conv_last", out, 1280, 1), 1000))


def vww(seed: int = 0) -> ModelProto:
    """MLPerf Tiny's visual wake words: MobileNetV1 0.25, input [N, 3, 96, 96], output [N, 2] probabilities; 7.5 M
    multiply-accumulates."""
    net = NetworkBuilder("vww", seed, (3, 96, 96))
    out = _head(net, _v1(_Separable(net, six=False, same=True, bias=True), 4), 2)
    return net.model(net.softmax("softmax", out))
