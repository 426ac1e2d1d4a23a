"""Layers and tensors as a program describes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vta_arch.program import Tensor

from .graph import IntLayer, Pool, QTensor, Residual


def tensor_of(item: QTensor) -> Tensor:
    """A tensor without its place."""
    return Tensor(item.name, item.shape, item.dtype, item.low, item.high)


def _fits_bytes(layer: IntLayer) -> bool:
    """Weights minus their zero point may need 9 bits."""
    limits = np.iinfo(np.int8)
    return int(layer.weight.min(initial=0)) >= limits.min and int(layer.weight.max(initial=0)) <= limits.max


def reference_data(layer: IntLayer) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[np.integer]]]:
    """Attributes and arrays from which the integer reference computes the layer."""
    window = {"kernel": layer.kernel, "strides": layer.strides, "pads": layer.pads, "dilations": layer.dilations}
    attributes: dict[str, tuple[int, ...]] = {
        "conv": window | {"pad_value": (layer.pad_value,)},
        "conv_transpose": window | {"pad_value": (layer.pad_value,)},
        "maxpool": window | {"pad_value": (layer.pad_value,)},
        "rectify": {"factors": layer.factors, "floor": (layer.floor,)},
        "select": {},
    }.get(layer.op, {"factors": layer.factors})
    if layer.op not in ("add", "select") and layer.inputs[0].positions is not None:
        attributes["positions"] = layer.inputs[0].positions
    values: dict[str, NDArray[np.integer]] = {}
    if layer.is_weighted:
        values["weight"] = layer.weight.astype(np.int8 if _fits_bytes(layer) else np.int16)
    if layer.op == "select":
        values["channels"] = layer.channels.astype(np.int32)
    if isinstance(layer.fused, Residual):
        attributes["factors"] = layer.fused.factors
        values["requant_add"] = layer.fused.requant.pack().view("<i4")
    if isinstance(layer.fused, Pool):
        attributes |= {"pool_kernel": layer.fused.kernel, "pool_strides": layer.fused.strides}
        attributes["pool_pads"] = layer.fused.pads
    if layer.requant is not None:
        values["requant"] = layer.requant.pack().view("<i4")
        return attributes, values
    attributes |= {"low": (layer.low,), "high": (layer.high,)}
    if layer.op == "add":
        attributes["bias"] = (int(layer.bias.sum()),)
    if not layer.own_channels:
        return attributes | {"shift": (int(layer.shift[0]),)}, values
    return attributes, values | {"bias": layer.bias, "shift": layer.shift.astype(np.int32)}
