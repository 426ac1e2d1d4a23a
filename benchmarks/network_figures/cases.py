"""The benchmark networks, the configuration of each, and the cycles to reach."""

from __future__ import annotations

from dataclasses import dataclass

from vta_app import VTAConfig
from vta_arch.presets import DEFAULT_PRESET
from vta_sw.frontend import Work

BUSES = {"whole": 1, "half": 2}
"""Speeds of the memory's bus: cycles from one beat to the next."""


@dataclass(frozen=True)
class Case:
    """A network of :data:`vta_sw.models.MODELS` on a preset. ``reach``: cycles on the accelerator, whole bus."""

    network: str
    preset: str
    reach: int
    calibration: int
    """Images to calibrate with."""


TINY = "mlperf-tiny"
CASES = (
    Case("resnet18", DEFAULT_PRESET, 7_400_000, 4),
    Case("resnet34", DEFAULT_PRESET, 14_700_000, 4),
    Case("resnet50", DEFAULT_PRESET, 16_800_000, 4),
    Case("mobilenet_v1", DEFAULT_PRESET, 2_900_000, 4),
    Case("mobilenet_v2", DEFAULT_PRESET, 2_200_000, 4),
    Case("resnet8", TINY, 205_000, 32),
    Case("vww", TINY, 150_000, 16),
    Case("kws", TINY, 54_000, 32),
    Case("autoencoder", TINY, 38_000, 32),
)


def ideal_cycles(cfg: VTAConfig, work: Work, interval: int) -> float:
    """No program takes less: true multiply-accumulates over multipliers, or the weights once over the bus."""
    beats = work.weights * cfg.wgt_width / cfg.axi_data_width
    return max(work.macs / cfg.macs_per_cycle, beats * interval)
