"""Weights wider than the configuration's, as sums of weights that it holds.

A weight minus its zero point may have a bit more than a weight. It is split into parts, each as far from zero as a
weight can be, which meet the same inputs and add up in the same accumulator: exact, and no partial sum goes beyond what
the whole weights reach. Most weights are whole in their first part, so the others are mostly zero and their tiles are
left out.
"""

from __future__ import annotations

import numpy as np
from vta_arch.config import VTAConfig

from ..graph.types import Ints

MOST_PARTS = 3
"""255 is 127 + 127 + 1. Wider weights would be cheaper in digits."""


def weight_parts(cfg: VTAConfig, weight: Ints) -> int:
    """Weights of ``cfg`` that add up to any of ``weight``; at least 1. 1-bit weights cannot be split: none is 0."""
    if weight.size == 0:
        return 1
    low, high = int(weight.min()), int(weight.max())
    if cfg.wgt_width == 1:
        return 1 if low >= cfg.wgt_min and high <= cfg.wgt_max else MOST_PARTS + 1
    return max(1, -(-high // cfg.wgt_max), -(-low // cfg.wgt_min))


def split_weight(cfg: VTAConfig, weight: Ints) -> list[Ints]:
    """Arrays of weights that ``cfg`` holds; their sum is ``weight``."""
    parts = []
    rest = weight
    for _ in range(weight_parts(cfg, weight)):
        parts.append(np.clip(rest, cfg.wgt_min, cfg.wgt_max))
        rest = rest - parts[-1]
    return parts
