"""``vta quantize``: a float network to the configuration's widths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from vta_arch.errors import DataError
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_sw.quantize_choices import PartitionConversions, Rounding, WeightScale

from .. import quantize_options as given
from ..accuracy import Comparison, read_test_data
from ..calibration import calibration_source, inputs_of
from ..options import Batch, Config, Output, Shape, check_output, parse_shapes
from ..output import print_done, print_table, progress_bars
from ..quantize_report import check_report, print_report, write_report
from ..sweep import Trial, best, try_configs, with_global_scales


def _check_reports(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or []:
        check_report(path)
        check_output(path)
    return paths


Reports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="F.json|F.html",
        callback=_check_reports,
        help="Write the report as JSON, or as a page with plots. May be given more than once.",
        rich_help_panel=given.RESULT_PANEL,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="X.npz[:key]",
        help="Measure the accuracy on these samples (labels: key y; without any, agreement with the float network).",
        rich_help_panel=given.RESULT_PANEL,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="X.npz[:key]", help="Class of each sample of --data.", rich_help_panel=given.RESULT_PANEL
    ),
]


def quantize(
    network: Annotated[Path, typer.Argument(metavar="F.onnx", help="Float network.")],
    calibration: given.CalibrationOption,
    output: Output,
    config: Config = DEFAULT_PRESET,
    batch: Batch = None,
    shape: Shape = None,
    image_mean: given.ImageMean = "0",
    image_std: given.ImageStd = "1",
    calibrate_mode: given.CalibrateModeOption = None,
    percentile: given.Percentile = None,
    global_scale: given.GlobalScale = None,
    calibrate_chunk_by: given.ChunkBy = None,
    nbit_input: given.NbitInput = None,
    nbit_weight: given.NbitWeight = None,
    nbit_activation: given.NbitActivation = None,
    activations: given.Activations = None,
    edge_bits: given.EdgeBits = 8,
    weight_scale: given.WeightScaleOption = WeightScale.MSE,
    rounding: given.RoundingOption = Rounding.NEAREST,
    rounding_steps: given.RoundingSteps = 300,
    bias_correction: given.BiasCorrection = True,
    equalize: given.Equalize = False,
    seed: given.Seed = 0,
    keep_float: given.KeepFloat = None,
    skip_dense_layer: given.SkipDense = False,
    skip_conv_layers: given.SkipConv = None,
    debug_enabled_ops: given.EnabledOps = None,
    overrides: given.OverridesOption = None,
    do_simulation: given.Simulate = False,
    partition_conversions: given.Conversions = PartitionConversions.DISABLED,
    report: Reports = None,
    data: Data = None,
    labels: Labels = None,
) -> None:
    """Quantize a float network to a standard QDQ ONNX file, and say what became of each layer.

    Example: `vta quantize examples/digits_resnet.onnx --calibration build/digits/train.npz -o build/digits_q.onnx
    --report build/digits_q.html`

    Several global scales are tried in one command, and the best network is written:
    `vta quantize examples/digits_resnet.onnx --calibration build/digits/train.npz --data build/digits/train.npz
    --global-scale 2,4,8,16 -o build/digits_q.onnx`
    """
    options = locals()
    from vta_sw.frontend import save_model
    from vta_sw.quantize import prepare_for, quantize_prepared

    cfg = load_config(config)
    chosen = given.make_config(options, cfg)
    scales = given.numbers("--global-scale", global_scale) if global_scale else [chosen.global_scale]
    configs = with_global_scales(chosen, scales)
    for item in configs:
        item.resolve(cfg)
    if len(configs) > 1 and data is None:
        raise DataError(f"--global-scale {global_scale}: to choose among {len(configs)}, give --data X.npz")
    if labels is not None and data is None:
        raise DataError(f"--labels {labels}: there are no samples to compare; give --data X.npz")
    model = prepare_for(network, cfg, configs[0], batch=batch, shapes=parse_shapes(shape))
    source = calibration_source(calibration, inputs_of(model), given.pixels(image_mean, image_std))
    found = None
    with progress_bars() as progress:
        if data is None:
            made = quantize_prepared(model, cfg, source, configs[0], progress)
        else:
            trials = try_configs(model, cfg, source, read_test_data(data, labels, model), configs, progress)
            made, found = best(trials).made, best(trials).found
    if len(configs) > 1:
        _print_sweep(trials)
    else:
        print_report(made.report)
    if found is not None:
        _print_accuracy(found)
    for path in report or []:
        write_report(path, made.report, network.name, found)
    save_model(made.model, output)
    print_done(f"{output}: {network.name} quantized for {cfg.name}, {len(made.report.layers)} layers")


def _print_sweep(trials: Sequence[Trial]) -> None:
    columns = ["global scale", "top-1", "float's top-1", "same class", ""]
    rows = [
        [
            f"{trial.config.global_scale:g}",
            _percent(trial.found.top1),
            _percent(trial.found.float_top1),
            _percent(trial.found.same),
            "best" if trial is best(trials) else "",
        ]
        for trial in trials
    ]
    print_table(columns, rows, right=columns[:4])


def _print_accuracy(found: Comparison) -> None:
    rows = [["samples", f"{found.samples:,}"], ["same class as float", _percent(found.same)]]
    if found.top1 is not None:
        rows += [["top-1, float", _percent(found.float_top1)], ["top-1, quantized", _percent(found.top1)]]
    print_table(["on the data", ""], rows, right=[""])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
