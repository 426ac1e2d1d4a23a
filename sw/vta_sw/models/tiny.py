"""MLPerf Tiny's keyword spotting and anomaly detection."""

from __future__ import annotations

from onnx import ModelProto

from .builder import NetworkBuilder

_KEYWORD_CHANNELS, _KEYWORD_BLOCKS = 64, 4
_AUTOENCODER_WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)


def kws(seed: int = 0) -> ModelProto:
    """DS-CNN: input [N, 1, 49, 10] of cepstral coefficients, output [N, 12] probabilities; 2.66 M multiply-accumulates.

    Padding is TensorFlow's "same".
    """
    net = NetworkBuilder("kws", seed, (1, 49, 10))

    def normalised(name: str, out: str) -> str:
        return net.relu(f"{name}_relu", net.batch_norm(f"{name}_bn", out))

    width = _KEYWORD_CHANNELS
    out = normalised("conv1", net.conv("conv1", "input", width, (10, 4), stride=2, bias=True, same=True))
    for number in range(1, _KEYWORD_BLOCKS + 1):
        name = f"block{number}.depthwise"
        out = normalised(name, net.conv(name, out, width, 3, group=width, bias=True, same=True))
        name = f"block{number}.pointwise"
        out = normalised(name, net.conv(name, out, width, 1, bias=True))
    out = net.flatten("flatten", net.global_average_pool("avgpool", out))
    return net.model(net.softmax("softmax", net.dense("fc", out, 12)))


def autoencoder(seed: int = 0) -> ModelProto:
    """Dense autoencoder: input and output [N, 640] of spectrogram values; 264 k multiply-accumulates."""
    net = NetworkBuilder("autoencoder", seed, (640,))
    out = "input"
    for number, width in enumerate(_AUTOENCODER_WIDTHS, start=1):
        out = net.dense(f"dense{number}", out, width, gain=2.0)
        out = net.relu(f"dense{number}_relu", net.batch_norm(f"dense{number}_bn", out))
    return net.model(net.dense("reconstruction", out, 640))
