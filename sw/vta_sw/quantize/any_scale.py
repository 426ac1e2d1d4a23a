"""Scales of any value (extension ``requant``): of activations, of weights, and of the inputs of an addition."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from vta_arch.config import VTAConfig

from ..frontend.graph import Graph
from .calibrate import TensorStats
from .scales import Limits, best_weight_scales, mean_error, unclipped_scale
from .types import Annotation, IntType

_CLIPPED = np.geomspace(1.0, 1 / 16, 49)
"""Parts of the largest magnitude that are tried as the one that is not clipped."""
_FINE_BITS = 8
"""With as many bits rounding is fine enough to clip no weights, and activations only where they are very rare."""
_FINE_POWER, _COARSE_POWER = 3, 2
"""Power of an activation's error that is minimised. The higher one minds large errors, that is clipping, more: few
large activations often decide about a result."""
_LEAST = 2.0**-80
"""No scale is smaller, so that every product of two is a normal float32."""
_LEAST_FACTOR_BITS = 3
_SPARE_BITS = 2
"""The integers of an addition have as many bits less than its activations, but so many at least."""
_MOST_MOVED = 0.12
"""No scale moves by a larger part: more than the gaps between the ratios of 3-bit integers need."""

_LITTLE_MOVED, _FUSED_MOVED = 0.01, 0.04
"""For a multiplication by a shift, and for one that takes an instruction more, as long as the addition can be fused."""
_MOST_SHIFT = 8
FUSING = frozenset({"overlap", "requant"})
"""Extensions with which an addition can be fused into the convolution before it."""


def search_activation_scale(stats: TensorStats, kind: IntType) -> float:
    """The float32 scale of least error. A tensor that is always zero gets 1."""
    power = _FINE_POWER if kind.bits >= _FINE_BITS else _COARSE_POWER
    if stats.largest == 0.0:
        return 1.0
    whole = unclipped_scale(stats, kind)
    candidates = [float(np.float32(max(whole * part, _LEAST))) for part in _CLIPPED]
    return min(candidates, key=lambda scale: mean_error(stats, scale, kind, power))


def search_weight_scales(flat: NDArray[np.float64], limits: Limits, *, clip: bool = True) -> NDArray[np.float64]:
    """Float32 scales of ``flat`` [channels, n]: max|w| / limits[1], or less where clipping a few weights is better.

    1 for a row of zeros. Without ``clip`` nothing is clipped.
    """
    limit, largest = limits[1], np.abs(flat).max(axis=1, initial=0.0)
    largest[largest == 0.0] = limit
    coarse = limit < (1 << (_FINE_BITS - 1)) - 1
    parts = _CLIPPED if clip and coarse else _CLIPPED[:1]
    trials = [np.maximum(largest * part / limit, _LEAST).astype(np.float32).astype(np.float64) for part in parts]
    return best_weight_scales(flat, trials, limits)


def align_additions(
    graph: Graph,
    plan: Annotation,
    scales: dict[str, float],
    cfg: VTAConfig,
    *,
    bits: int,
    kept: frozenset[str] = frozenset(),
) -> None:
    """Move scales a little, so that the inputs of an addition have the ratio of two integers that weights can hold.

    The accelerator multiplies both inputs by integers before it adds them. What only an addition reads is moved first:
    a convolution's output then has the factor that lets the addition be fused into it. A scale group that one addition
    has used keeps its scale; two of them keep their ratio, which then costs more products. ``bits``: of activations;
    ``kept``: groups that have bits to spare, so that their scale may grow as far as it takes.
    """
    bits, coarse = max(_LEAST_FACTOR_BITS, bits - _SPARE_BITS), bits < _FINE_BITS
    digits = -(-bits // max(cfg.wgt_width - 1, 1))
    most = (1 << digits * max(cfg.wgt_width - 1, 1)) - 1
    fixed: set[str] = set()
    private = private_outputs(graph, plan)
    for layer in plan.layers:
        if layer.op_type != "Add" or len(layer.inputs) != 2:
            continue
        anchor, moved = (plan.groups[name] for name in layer.inputs)
        first = (anchor in kept, private.get(anchor, -1)) > (moved in kept, private.get(moved, -1))
        if moved in fixed or (anchor not in fixed and first):
            anchor, moved = moved, anchor
        if anchor != moved and moved not in fixed:
            fusable = moved in private
            choices = _ratios(cfg, most, fusable=fusable, coarse=coarse)
            if moved in kept:
                scales[moved] = _grown(scales[moved], scales[anchor], choices[0][0])
            else:
                scales[moved] = _aligned(scales[moved], scales[anchor], choices)
        fixed |= {anchor, moved}


def private_outputs(graph: Graph, plan: Annotation) -> dict[str, int]:
    """Scale groups of one tensor that a convolution makes and one addition alone reads -> the convolution's number."""
    readers = graph.consumers()
    sizes = Counter(plan.groups.values())
    additions = {
        name for layer in plan.layers if layer.op_type == "Add" and len(layer.inputs) == 2 for name in layer.inputs
    }
    return {
        plan.groups[layer.output]: number
        for number, layer in enumerate(plan.layers)
        if layer.weight is not None and layer.output in additions and sizes[plan.groups[layer.output]] == 1
        if len(readers.get(layer.output, [])) == 1 and layer.output not in graph.output_names
    }


def _ratios(cfg: VTAConfig, most: int, *, fusable: bool, coarse: bool) -> list[tuple[NDArray[np.float64], float]]:
    """Ratios of the moved scale to the other one that a list of factors offers, and how far it may move for them.

    The best first. To be fused the moved side's factor is a shift or an immediate, the other's is one weight.
    """
    q = np.arange(1, most + 1)
    every = (np.arange(1, most + 1)[:, None] / q).reshape(-1)
    if not fusable or not cfg.extensions >= FUSING:
        return [(every, _MOST_MOVED)]
    weights = np.arange(1, cfg.wgt_max + 1)
    shifts, factors = 1 << np.arange(_MOST_SHIFT + 1), np.arange(1, most + 1)
    return [
        ((shifts[:, None] / weights).reshape(-1), _LITTLE_MOVED),
        ((factors[:, None] / weights).reshape(-1), _MOST_MOVED if coarse else _FUSED_MOVED),
        (every, _MOST_MOVED),
    ]


def _aligned(scale: float, anchor: float, choices: list[tuple[NDArray[np.float64], float]]) -> float:
    """The float32 scale nearest to ``scale`` that is ``anchor`` * a ratio of the first choice that is near enough.

    ``scale`` itself where none is.
    """
    for ratios, most in choices:
        away = np.abs(np.log(ratios * anchor / scale))
        if away.min() <= most:
            return float(np.float32(anchor * float(ratios[np.argmin(away)])))
    return scale


def _grown(scale: float, anchor: float, ratios: NDArray[np.float64]) -> float:
    """The least of ``anchor`` * ratios that is not below ``scale``; the greatest where all are."""
    offered = np.sort(ratios * anchor)
    at = int(np.searchsorted(offered, scale * (1 - _LITTLE_MOVED)))
    return float(np.float32(offered[min(at, len(offered) - 1)]))
