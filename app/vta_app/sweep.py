"""Quantizing with several settings and comparing what they are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .accuracy import Comparison, TestData, compare, top_classes
from .output import ProgressCallback

if TYPE_CHECKING:
    from onnx import ModelProto
    from vta_arch.config import VTAConfig
    from vta_sw.quantize import Calibration, QConfig, Quantization


@dataclass(frozen=True)
class Trial:
    """A setting, what it made, and how that does."""

    config: QConfig
    made: Quantization
    found: Comparison


def try_configs(
    model: ModelProto,
    cfg: VTAConfig,
    calibration: Calibration,
    data: TestData,
    configs: Sequence[QConfig],
    progress: ProgressCallback | None = None,
) -> list[Trial]:
    """Quantize a prepared float ``model`` with each of ``configs``, and compare each result with it on ``data``.

    ``calibration`` is gone through once for each. Raises what quantizing raises.
    """
    from vta_sw.quantize import quantize_with_report

    expected = top_classes(model, data.inputs)
    trials = []
    for index, config in enumerate(configs):
        made = quantize_with_report(model, cfg, calibration, config=config, progress=progress)
        trials.append(
            Trial(config, made, compare(expected, top_classes(made.with_conversions, data.inputs), data.labels))
        )
        if progress is not None and len(configs) > 1:
            progress("settings", index + 1, len(configs))
    return trials


def with_global_scales(config: QConfig, scales: Sequence[float]) -> list[QConfig]:
    """``config`` once for each scale."""
    return [dataclasses.replace(config, global_scale=scale) for scale in scales]


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest score; of several the first one of most samples with the float network's class."""
    return max(trials, key=lambda trial: (trial.found.score, trial.found.same))
