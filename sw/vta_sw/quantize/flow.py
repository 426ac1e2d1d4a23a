"""The three steps in a row: annotate, calibrate, realize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto
from vta_arch.config import VTAConfig
from vta_arch.errors import ModelError

from ..frontend import PRODUCTS, prepare_float
from ..frontend.graph import Graph, copy_model
from ..quantize_choices import CalibrateMode, PartitionConversions
from .activation_scales import activation_scale
from .annotate import annotate, kept_float, regroup
from .any_scale import align_additions
from .calibrate import Progress, TensorStats, observe
from .config import QConfig
from .equalize import equalize
from .fold_scales import fold_scales
from .integral import fully_integral
from .kinds import Kinds, choose_kinds
from .layers import Fitting, fit_layers, samples_looked_at
from .overrides import LayerOverride
from .prefix import prefix_snr
from .realize import realize, required_versions
from .report import LayerReport, QuantizationReport, count_types, settings_of
from .samples import Calibration, Samples
from .scales import saturated_share, signal_to_noise_db
from .simulate import simulate
from .types import Annotation, LayerPlan, WeightQuant, activation_type, has_any_scale


@dataclass
class Quantization:
    """Everything the steps found, and the model."""

    model: ModelProto
    with_conversions: ModelProto
    """The same with its conversions at the ends, which takes what the float network takes."""
    prepared: ModelProto
    """The float network that the annotation speaks of: in canonical form, equalized if that was asked for, and with
    tensors multiplied for powers of two as scales."""
    annotation: Annotation
    stats: dict[str, TensorStats]
    scales: dict[str, float]
    """Scale group (see Annotation.groups) -> scale, a float32 number."""
    weights: dict[str, WeightQuant]
    kinds: Kinds
    report: QuantizationReport


def quantize(
    model: ModelProto | Path | str,
    cfg: VTAConfig,
    calibration: Calibration,
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    config: QConfig | None = None,
) -> ModelProto:
    """The QDQ model of a float network, with the integer types of ``cfg``.

    Scales are any number where ``cfg`` has the extension ``requant``, powers of two elsewhere, which are fitted by
    multiplying tensors (see :mod:`.fold_scales`).

    ``calibration``: samples [n, ...] as the network takes them (or one array for each input name), or an iterable of
    batches of them, which is gone through once. Of an iterable one batch at a time is in memory, and what is needed
    again: the first 128 samples, or 512 for fitted rounding. Observed tensors are
    histograms; those of a batch that runs take about 48 MiB at most, or one sample if that is more.
    ``batch``: fixes the batch dimension; None keeps it as it is in the file.
    ``progress(step, done, total)`` is called now and then.

    Raises ModelError for a network that cannot be read or quantized, DataError for unusable calibration data.
    """
    done = quantize_with_report(model, cfg, calibration, batch=batch, shapes=shapes, progress=progress, config=config)
    return done.model


def quantize_with_report(
    model: ModelProto | Path | str,
    cfg: VTAConfig,
    calibration: Calibration,
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    config: QConfig | None = None,
) -> Quantization:
    """As :func:`quantize`, with what each step found."""
    config = config or QConfig()
    prepared = prepare_for(model, cfg, config, batch=batch, shapes=shapes)
    return quantize_prepared(prepared, cfg, calibration, config, progress)


def prepare_for(
    model: ModelProto | Path | str,
    cfg: VTAConfig,
    config: QConfig,
    *,
    batch: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> ModelProto:
    """A float network in the form that :func:`quantize_prepared` takes. Raises as :func:`quantize` does."""
    _checked(cfg, config)
    opset = required_versions(_narrowest(cfg, config))[1]
    return prepare_float(model, batch=batch, shapes=shapes, least_opset=opset)


def _nothing_found(graph: Graph, plan: Annotation) -> str:
    """Why nothing is quantized: the reason of the first product, if there is one."""
    products = [node.name for node in graph.nodes if node.op_type in PRODUCTS and node.name in plan.floats]
    example = f": for example {products[0]!r}: {plan.floats[products[0]]}" if products else ""
    return (
        "the network has no layer that the accelerator runs (a convolution, Gemm or MatMul with constant weights)"
        + example
    )


def quantize_prepared(
    prepared: ModelProto, cfg: VTAConfig, calibration: Calibration, config: QConfig, progress: Progress | None = None
) -> Quantization:
    """Quantize what :func:`prepare_for` made for ``cfg`` and ``config``."""
    samples = Samples(prepared, calibration, keep=samples_looked_at(config))
    graph = Graph(prepared)
    config.overrides.require_used(node.name for node in graph.nodes)
    if config.equalize:
        prepared = equalize(graph)
        graph = Graph(prepared)
    plan = annotate(graph, kept_float(graph, config), config.debug_enabled_ops)
    if not plan.layers:
        raise ModelError(_nothing_found(graph, plan))
    watched = set(plan.roots())
    stats = observe(prepared, sorted(watched), samples, progress, chunk_by=config.calibrate_chunk_by)
    if not cfg.inp_is_signed:
        _drop_negative(graph, plan, stats, cfg)
    kinds = choose_kinds(graph, plan, stats, cfg, config)
    if not has_any_scale(cfg):
        prepared = fold_scales(graph, plan, stats, kinds, _ranges_given(plan, config))
        graph = Graph(prepared)
    scales = _activation_scales(plan, stats, kinds, cfg, config)
    if has_any_scale(cfg):
        align_additions(graph, plan, scales, cfg, bits=config.resolve(cfg).activation.bits, kept=kinds.kept)
    fitting = Fitting(prepared, graph, plan, scales, kinds, cfg, config, samples.kept, progress)
    weights, dropped = fit_layers(fitting)
    if dropped:
        _drop(graph, plan, dropped)
    if not plan.layers:
        name, reason = next(iter(plan.floats.items()))
        raise ModelError(f"no layer of the network fits configuration {cfg.name!r}: for example {name!r}: {reason}")
    simulated = simulate(prepared, cfg, plan, scales, weights, kinds)
    result = simulated if config.do_simulation else realize(copy_model(prepared), cfg, plan, scales, weights, kinds)
    measured = result
    if config.partition_conversions is PartitionConversions.FULLY_INTEGRAL:
        result = fully_integral(copy_model(result))
    report = QuantizationReport(cfg.name, settings_of(config), floats=dict(plan.floats))
    done = Quantization(result, measured, prepared, plan, stats, scales, weights, kinds, report)
    snr = prefix_snr(prepared, simulated, samples.kept, [layer.output for layer in plan.layers])
    report.layers = [layer_report(done, layer, snr[layer.output]) for layer in plan.layers]
    report.types_before, report.tensor_types = count_types(prepared), count_types(result)
    return done


def _narrowest(cfg: VTAConfig, config: QConfig) -> int:
    """Least bits that any tensor of the file can have."""
    widths = config.resolve(cfg)
    asked = [bits for _, entry in config.overrides.entries for bits in (entry.weight_bits, entry.activation_bits)]
    return min(widths.activation.bits, widths.weight.bits, *(bits for bits in asked if bits is not None))


def _checked(cfg: VTAConfig, config: QConfig) -> None:
    """Raises ModelError for 1-bit data, ConfigError for choices that ``cfg`` does not have."""
    if 1 in (cfg.inp_width, cfg.wgt_width):
        raise ModelError(
            f"configuration {cfg.name!r} has 1-bit data: post-training quantization to 1 bit is not offered, "
            "a network must be trained with 1-bit weights and activations"
        )
    config.resolve(cfg)


def _makers(plan: Annotation) -> dict[str, str]:
    """Scale group -> the layer that makes it."""
    return {plan.groups[layer.output]: layer.name for layer in plan.layers}


def _ranges_given(plan: Annotation, config: QConfig) -> list[str]:
    """Scale groups whose range follows from something else than the least error."""
    makers = _makers(plan)
    return [root for root in plan.roots() if config.mode_of(makers.get(root)) is not CalibrateMode.MSE]


def _activation_scales(
    plan: Annotation, stats: dict[str, TensorStats], kinds: Kinds, cfg: VTAConfig, config: QConfig
) -> dict[str, float]:
    """The scale of every group; an override of the layer that makes it prevails."""
    makers, scales = _makers(plan), {}
    for root in plan.roots():
        asked = config.overrides.of(makers[root]) if root in makers else LayerOverride()
        mode = config.mode_of(makers.get(root))
        value = config.global_scale if asked.global_scale is None else asked.global_scale
        if mode is CalibrateMode.PERCENTILE:
            value = config.percentile if asked.percentile is None else asked.percentile
        kind = kinds.activations[root]
        scales[root] = activation_scale(root, stats[root], kind, mode, value, powers=not has_any_scale(cfg))
    return scales


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


def layer_report(done: Quantization, layer: LayerPlan, prefix_db: float) -> LayerReport:
    """What the steps did to a layer."""
    groups, stats = done.annotation.groups, done.stats
    root, weight = groups[layer.output], done.weights.get(layer.name)
    kind, scale = done.kinds.activations[root], done.scales[root]
    spread = None if weight is None else (float(weight.scales.min()), float(weight.scales.max()))
    return LayerReport(
        name=layer.name,
        op_type=layer.op_type,
        inputs=layer.inputs,
        output=layer.output,
        input_types=tuple(str(done.kinds.activations[groups[name]]) for name in layer.inputs),
        activation_type=str(kind),
        weight_type=None if weight is None else str(done.kinds.weights[layer.name]),
        input_scales=tuple(done.scales[groups[name]] for name in layer.inputs),
        input_zero_points=tuple(done.kinds.activations[groups[name]].zero for name in layer.inputs),
        weight_scale_range=spread,
        output_scale=scale,
        output_zero_point=kind.zero,
        output_range=(stats[root].low, stats[root].high),
        output_snr_db=signal_to_noise_db(stats[root], scale, kind),
        output_saturated=saturated_share(stats[root], scale, kind),
        prefix_snr_db=prefix_db,
        weight_snr_db=None if weight is None else weight.snr_db,
        coarsened_channels=0 if weight is None else weight.coarsened,
    )
