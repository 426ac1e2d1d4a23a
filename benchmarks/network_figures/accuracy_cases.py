"""Which accuracy each trained network is to keep, by the types it is quantized to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vta_app import VTAConfig, load_config
from vta_sw.quantize import QConfig, Rounding


@dataclass(frozen=True)
class Variant:
    """Types, the configuration that has them, and options: the same for every network."""

    name: str
    preset: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    shift: bool = False
    """Without the extension ``requant``: scales are powers of two."""
    networks: tuple[str, ...] | None = None
    """None: all."""

    def config(self) -> VTAConfig:
        """The accelerator."""
        cfg = load_config(self.preset)
        if not self.shift:
            return cfg
        return dataclasses.replace(cfg, name=f"{cfg.name}, shift", extensions=cfg.extensions - {"requant"})

    def quantization(self) -> QConfig:
        """The options."""
        return QConfig(**self.options)


_FITTED = {"rounding": Rounding.ADAROUND}
VARIANTS = (
    Variant("int8", "pynq-z1"),
    Variant("w4a8", "w4a8", _FITTED),
    Variant("int4", "int4", _FITTED),
    Variant("w2a8", "w4a8", {**_FITTED, "nbit_weight": 2}, networks=("ResNet-20",)),
    Variant("int8, shift", "pynq-z1", {"rounding": Rounding.SEQUENTIAL}, shift=True),
    Variant("w4a8, shift", "w4a8", _FITTED, shift=True),
    Variant("int4, shift", "int4", _FITTED, shift=True),
)
"""int8: 8 bits; w4a8: 4-bit weights, 8-bit activations; int4: 4 bits each; w2a8: 2-bit weights."""


@dataclass(frozen=True)
class Target:
    """What is to be reached; None: nothing is asked for."""

    lost: float | None = None
    """At most so many points of top-1 below float."""
    same: float | None = None
    """At least so many percent of the images in the float network's class."""
    top1: float | None = None
    """At least this top-1."""

    def relaxed(self, points: float) -> Target:
        """The same, so many points lower."""
        lost = None if self.lost is None else self.lost + points
        same = None if self.same is None else self.same - points
        return Target(lost, same, self.top1)

    def reached(self, float_top1: float, top1: float, same: float, images: int) -> bool | None:
        """Whether it is, one image allowed; None where nothing is asked for."""
        one = 100.0 / images + 1e-9
        if self.lost is not None:
            return float_top1 - top1 <= self.lost + one
        if self.same is not None:
            return same >= self.same - one
        return None if self.top1 is None else top1 >= self.top1 - one

    def __str__(self) -> str:
        if self.lost is not None:
            return f"float - {self.lost:g}"
        if self.same is not None:
            return f"{self.same:g} % same"
        return "-" if self.top1 is None else f"{self.top1:g} %"


_ASKED = {
    "ResNet-20": {"int8": Target(0.2), "w4a8": Target(0.5), "int4": Target(1.4), "w2a8": Target(top1=87.0)},
    "ResNet-8": {"int8": Target(0.4), "w4a8": Target(1.5), "int4": Target(2.7)},
    "DS-CNN": {"int8": Target(same=98.0), "w4a8": Target(same=96.0), "int4": Target(same=91.0)},
    "MNIST CNN": {"int8": Target(0.1), "w4a8": Target(0.2), "int4": Target(0.3)},
    "MobileNetV1 0.25": {"int8": Target(same=90.0)},
}
_SHIFT_COSTS = {"int8": 0.7, "w4a8": 0.4, "int4": 1.1}
"""Points that scales of powers of two may cost on top."""

NETWORKS = tuple(_ASKED)


def target(network: str, variant: Variant) -> Target:
    """What ``network`` is to reach."""
    types = variant.name.partition(",")[0]
    asked = _ASKED[network].get(types, Target())
    return asked.relaxed(_SHIFT_COSTS[types]) if variant.shift else asked
