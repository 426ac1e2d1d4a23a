"""The three steps in a row: annotate, calibrate, realize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from ..frontend import prepare_float
from ..frontend.graph import Graph
from ..frontend.transposed import output_first
from . import any_scale, power_of_two
from .annotate import annotate, regroup
from .any_scale import align_additions
from .calibrate import Progress, TensorStats, calibration_inputs, observe
from .realize import realize, required_versions
from .report import LayerReport, QuantizationReport, count_types
from .scales import saturated_share, signal_to_noise_db
from .types import Annotation, LayerPlan, WeightQuant, activation_type, has_any_scale, weight_type
from .weights import addition_problem, quantize_weights

_SCALE_LIMIT = 2.0**40
"""Activation scales stay within 2**-40 to 2**40, so that every product of scales is a normal float32."""


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """Choices that are not the configuration's."""

    bias_correction: bool = False
    """Put the mean error that rounding the weights makes on the calibration data into the bias."""
    keep_float: tuple[str, ...] = ()
    """Names of nodes, or shell patterns of names, that stay float."""


@dataclass
class Quantization:
    """Everything the steps found, and the model."""

    model: ModelProto
    annotation: Annotation
    stats: dict[str, TensorStats]
    scales: dict[str, float]
    """Scale group (see Annotation.groups) -> scale, a float32 number."""
    weights: dict[str, WeightQuant]
    report: QuantizationReport


def quantize(
    model: ModelProto | Path | str,
    cfg: VTAConfig,
    calibration: NDArray[np.generic] | Mapping[str, NDArray[np.generic]],
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    options: QuantizeOptions | None = None,
) -> ModelProto:
    """The QDQ model of a float network, with the integer types of ``cfg``.

    Scales are powers of two, or any number where ``cfg`` has the extension ``requant``.

    ``calibration``: samples [n, ...] as the network takes them (or one array for each input name).
    ``batch``: fixes the batch dimension; None keeps it as it is in the file.
    ``progress(step, done, total)`` is called now and then.

    Raises ModelError for a network that cannot be read or quantized, DataError for unusable calibration data.
    """
    done = quantize_with_report(model, cfg, calibration, batch=batch, shapes=shapes, progress=progress, options=options)
    return done.model


def quantize_with_report(
    model: ModelProto | Path | str,
    cfg: VTAConfig,
    calibration: NDArray[np.generic] | Mapping[str, NDArray[np.generic]],
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    options: QuantizeOptions | None = None,
) -> Quantization:
    """As :func:`quantize`, with what each step found."""
    options = options or QuantizeOptions()
    if 1 in (cfg.inp_width, cfg.wgt_width):
        raise ModelError(
            f"configuration {cfg.name!r} has 1-bit data: post-training quantization to 1 bit is not offered, "
            "a network must be trained with 1-bit weights and activations"
        )
    prepared = prepare_float(model, batch=batch, shapes=shapes, least_opset=required_versions(cfg)[1])
    inputs = calibration_inputs(prepared, calibration)
    graph = Graph(prepared)
    plan = annotate(graph, options.keep_float)
    if not plan.layers:
        raise ModelError(
            "the network has no layer that the accelerator runs (a convolution, Gemm or MatMul with constant weights)"
        )
    watched = set(plan.roots())
    if options.bias_correction:
        watched |= {layer.inputs[0] for layer in plan.layers if layer.weight is not None}
    stats = observe(prepared, sorted(watched), inputs, progress)
    scales = {root: _activation_scale(root, stats[root], cfg) for root in plan.roots()}
    if not cfg.inp_is_signed:
        _drop_negative(graph, plan, stats, cfg)
    if has_any_scale(cfg):
        align_additions(graph, plan, scales, cfg)
    weights = _fit_layers(graph, plan, scales, stats, cfg, options, progress)
    if not plan.layers:
        name, reason = next(iter(plan.floats.items()))
        raise ModelError(f"no layer of the network fits configuration {cfg.name!r}: for example {name!r}: {reason}")
    result = realize(prepared, cfg, plan, scales, weights)
    report = QuantizationReport(
        config=cfg.name,
        layers=[_layer_report(layer, plan, stats, scales, weights.get(layer.name), cfg) for layer in plan.layers],
        floats=dict(plan.floats),
        tensor_types=count_types(result),
    )
    return Quantization(result, plan, stats, scales, weights, report)


def _activation_scale(name: str, stats: TensorStats, cfg: VTAConfig) -> float:
    search = any_scale.search_activation_scale if has_any_scale(cfg) else power_of_two.search_activation_scale
    scale = search(stats, activation_type(cfg))
    if scale > _SCALE_LIMIT:
        raise ModelError(f"tensor {name!r} reaches {stats.largest:.3g} on the calibration data: too large to quantize")
    return max(scale, 1 / _SCALE_LIMIT)


def _drop(graph: Graph, plan: Annotation, dropped: Mapping[str, str]) -> None:
    """Take layers out of a plan, each with its reason, and find the scale groups again."""
    links = {link.name: link for link in plan.links}
    plan.layers = [layer for layer in plan.layers if layer.name not in dropped]
    plan.floats |= dropped
    regroup(graph, plan, links)


def _drop_negative(graph: Graph, plan: Annotation, stats: dict[str, TensorStats], cfg: VTAConfig) -> None:
    """Unsigned activations cannot hold negative values: the layers that touch any stay float."""
    dropped = {}
    for layer in plan.layers:
        for tensor in (*layer.inputs, layer.output):
            if stats[plan.groups[tensor]].low < 0:
                dropped[layer.name] = f"tensor {tensor!r} has negative values, {activation_type(cfg)} has none"
    _drop(graph, plan, dropped)


def _fit_layers(
    graph: Graph,
    plan: Annotation,
    scales: dict[str, float],
    stats: dict[str, TensorStats],
    cfg: VTAConfig,
    options: QuantizeOptions,
    progress: Progress | None,
) -> dict[str, WeightQuant]:
    """Integer weights of every layer; a layer that cannot be done exactly leaves the plan."""
    weights: dict[str, WeightQuant] = {}
    dropped: dict[str, str] = {}
    for index, layer in enumerate(plan.layers):
        ends = [scales[plan.groups[name]] for name in (*layer.inputs, layer.output)]
        if layer.weight is None:
            addition = layer.op_type == "Add" and len(layer.inputs) == 2
            problem = addition_problem(ends[0], ends[1], ends[2], cfg) if addition else None
            if problem is not None:
                dropped[layer.name] = problem
        else:
            corrected = options.bias_correction and (layer.op_type != "MatMul" or layer.adder is not None)
            mean = _mean(stats[layer.inputs[0]]) if corrected else None
            shared = max(layer.transposed, 1)
            result = quantize_weights(*_floats(graph, layer), ends[0], ends[1], cfg, input_mean=mean, shared=shared)
            if isinstance(result, str):
                dropped[layer.name] = result
            else:
                weights[layer.name] = result
        if progress is not None:
            progress("weights", index + 1, len(plan.layers))
    if dropped:
        _drop(graph, plan, dropped)
    return weights


def _mean(stats: TensorStats) -> NDArray[np.float64] | None:
    return None if stats.channel_sum is None else stats.channel_sum / max(stats.channel_count, 1)


def _floats(graph: Graph, layer: LayerPlan) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Weight [out, ...] and bias of a layer. Raises ModelError for NaN or infinity."""
    values: list[NDArray[np.float32] | None] = []
    for name in (layer.weight, layer.bias):
        value = None if name is None else graph.array(name)
        if value is not None and not np.isfinite(value).all():
            raise ModelError(f"layer {layer.name!r}: constant {name!r} contains NaN or infinity")
        values.append(None if value is None else value.astype(np.float32))
    weight, bias = values
    assert weight is not None
    return output_first(weight, layer.transposed) if layer.transposed else weight, bias


def _layer_report(
    layer: LayerPlan,
    plan: Annotation,
    stats: dict[str, TensorStats],
    scales: dict[str, float],
    weight: WeightQuant | None,
    cfg: VTAConfig,
) -> LayerReport:
    root, kind = plan.groups[layer.output], activation_type(cfg)
    spread = None if weight is None else (float(weight.scales.min()), float(weight.scales.max()))
    return LayerReport(
        name=layer.name,
        op_type=layer.op_type,
        inputs=layer.inputs,
        output=layer.output,
        activation_type=str(kind),
        weight_type=None if weight is None else str(weight_type(cfg)),
        input_scales=tuple(scales[plan.groups[name]] for name in layer.inputs),
        weight_scale_range=spread,
        output_scale=scales[root],
        output_range=(stats[root].low, stats[root].high),
        output_snr_db=signal_to_noise_db(stats[root], scales[root], kind),
        output_saturated=saturated_share(stats[root], scales[root], kind),
        weight_snr_db=None if weight is None else weight.snr_db,
        coarsened_channels=0 if weight is None else weight.coarsened,
    )
