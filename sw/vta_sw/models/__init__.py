"""Architectures with seeded random weights, for speed and equality tests (they classify nothing).

The modules that build them are imported when a network is made, so that the names alone cost nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

    from .builder import NetworkBuilder

_HOMES = {
    "resnet18": "resnet",
    "resnet34": "resnet",
    "resnet50": "resnet",
    "mobilenet_v1": "mobilenet",
    "mobilenet_v2": "mobilenet",
    "resnet8": "resnet",
    "vww": "mobilenet",
    "kws": "tiny",
    "autoencoder": "tiny",
}


def _maker(name: str) -> Callable[[int], ModelProto]:
    def make(seed: int = 0) -> ModelProto:
        model: ModelProto = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)(seed)
        return model

    return make


MODELS: dict[str, Callable[[int], ModelProto]] = {name: _maker(name) for name in _HOMES}
"""Name -> function from a seed to the float model."""

__all__ = ["MODELS", "NetworkBuilder"]


def __getattr__(name: str) -> Any:
    if name != "NetworkBuilder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(".builder", __name__).NetworkBuilder
