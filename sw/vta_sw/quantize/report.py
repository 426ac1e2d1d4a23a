"""What quantization did, layer by layer, as data."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto, TensorProto


@dataclass(frozen=True)
class LayerReport:
    """One integer layer. SNR in dB against the float tensors, shares from 0 to 1."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    output: str
    activation_type: str
    weight_type: str | None
    input_scales: tuple[float, ...]
    weight_scale_range: tuple[float, float] | None
    """Least and greatest scale over the output channels."""
    output_scale: float
    output_range: tuple[float, float]
    """Least and greatest value on the calibration data."""
    output_snr_db: float
    """Of rounding and clipping the output tensor alone."""
    output_saturated: float
    weight_snr_db: float | None
    coarsened_channels: int


@dataclass
class QuantizationReport:
    """Result of quantizing a network."""

    config: str
    layers: list[LayerReport] = field(default_factory=list)
    floats: dict[str, str] = field(default_factory=dict)
    """Node that stayed float -> the reason."""
    tensor_types: dict[str, int] = field(default_factory=dict)
    """How many tensors of each element type the graph now holds."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values; an infinite SNR becomes null."""
        return _finite(dataclasses.asdict(self))  # type: ignore[no-any-return]


def count_types(model: ModelProto) -> dict[str, int]:
    """Tensors of each element type in a model with inferred shapes, constants included."""
    kinds = Counter(tensor.data_type for tensor in model.graph.initializer)
    values = {v.name: v for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    kinds.update(v.type.tensor_type.elem_type for v in values.values())
    return {TensorProto.DataType.Name(kind).lower(): count for kind, count in sorted(kinds.items())}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
