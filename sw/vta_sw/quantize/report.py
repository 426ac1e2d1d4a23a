"""What quantization did, layer by layer, as data."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto, TensorProto

from .config import QConfig
from .overrides import LayerOverride
from .simulate import SIM_QUANTIZE


@dataclass(frozen=True)
class LayerReport:
    """One integer layer. SNR in dB against the float tensors, shares from 0 to 1."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    output: str
    input_types: tuple[str, ...]
    activation_type: str
    """Of the output. Before, everything was float32."""
    weight_type: str | None
    input_scales: tuple[float, ...]
    input_zero_points: tuple[int, ...]
    weight_scale_range: tuple[float, float] | None
    """Least and greatest scale over the output channels."""
    output_scale: float
    output_zero_point: int
    output_range: tuple[float, float]
    """Least and greatest value on the calibration data."""
    output_snr_db: float
    """Of rounding and clipping the output tensor alone."""
    output_saturated: float
    prefix_snr_db: float
    """Of the output in the whole quantized network, all layers before this one included."""
    weight_snr_db: float | None
    coarsened_channels: int
    """Channels whose weight scale had to grow so that accumulators cannot overflow."""


@dataclass
class QuantizationReport:
    """Result of quantizing a network."""

    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Choices of the user that are not the defaults."""
    layers: list[LayerReport] = field(default_factory=list)
    floats: dict[str, str] = field(default_factory=dict)
    """Node that stayed float -> the reason."""
    types_before: dict[str, int] = field(default_factory=dict)
    """How many tensors of each element type the float network held."""
    tensor_types: dict[str, int] = field(default_factory=dict)
    """How many the graph now holds."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values; an infinite SNR becomes null."""
        return _finite(dataclasses.asdict(self))  # type: ignore[no-any-return]


_PARAMETERS = {"QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), SIM_QUANTIZE: (1, 2, 3)}
"""Inputs that say how to convert: scales, zero points, limits."""


def count_types(model: ModelProto) -> dict[str, int]:
    """Tensors of each element type in a model with inferred shapes: activations and constants, but no scales."""
    parameters = {
        node.input[at] for node in model.graph.node for at in _PARAMETERS.get(node.op_type, ()) if at < len(node.input)
    }
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    counts = Counter(kind for name, kind in kinds.items() if name not in parameters)
    return {TensorProto.DataType.Name(kind).lower(): count for kind, count in sorted(counts.items())}


def settings_of(config: QConfig) -> dict[str, Any]:
    """The choices that are not the defaults, as JSON values; overrides as pattern -> what is said of it."""
    plain = QConfig()
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    changed = {name: value for name, value in values.items() if value != getattr(plain, name)}
    if config.overrides.entries:
        changed["overrides"] = {pattern: _said(entry) for pattern, entry in config.overrides.entries}
    return changed


def _said(entry: LayerOverride) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
