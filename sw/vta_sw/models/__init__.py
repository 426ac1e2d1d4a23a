"""Architectures with seeded random weights, for speed and equality tests (they classify nothing)."""

from collections.abc import Callable

from onnx import ModelProto

from .builder import NetworkBuilder
from .resnet import resnet8, resnet18

MODELS: dict[str, Callable[[int], ModelProto]] = {"resnet8": resnet8, "resnet18": resnet18}
"""Name -> function from a seed to the float model."""

__all__ = ["MODELS", "NetworkBuilder", "resnet8", "resnet18"]
