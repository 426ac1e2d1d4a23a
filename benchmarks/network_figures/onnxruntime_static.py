"""onnxruntime's own static quantizer on the same network and calibration data."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from vta_sw.frontend import prepare

_BATCH = 16


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Calibration samples as onnxruntime asks for them."""

    def __init__(self, name: str, samples: NDArray[Any], batch: int) -> None:
        whole = len(samples) // batch * batch
        self._chunks = iter([{name: samples[at : at + batch]} for at in range(0, whole, batch)])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._chunks, None)


def quantize_with_onnxruntime(network: Path, samples: NDArray[np.float32], *, per_channel: bool) -> onnx.ModelProto:
    """The QDQ network that ``quantize_static`` makes with its defaults: int8 weights, uint8 activations, min-max.

    It gets the network in canonical form: it fails at a bias of two dimensions, and wants BatchNormalization folded.
    """
    source = prepare(network)
    value = source.graph.input[0]
    batch = value.type.tensor_type.shape.dim[0].dim_value or _BATCH
    logging.disable(logging.WARNING)  # it advises a pre-processing that the canonical form has behind it
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.onnx"
        quantize_static(
            source,
            made,
            _Batches(value.name, samples, batch),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        logging.disable(logging.NOTSET)
        return onnx.load(made)
