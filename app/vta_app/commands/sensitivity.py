"""``vta sensitivity``: which layers of a network cost the accuracy when they are quantized."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from vta_arch.files import write_text
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_sw.quantize_choices import Rounding, WeightScale

from .. import quantize_options as given
from ..accuracy import compare, first_output, read_test_data
from ..calibration import calibration_source, inputs_of
from ..options import Batch, Config, JsonFile, Shape, check_output, parse_shapes
from ..output import print_done, print_table, progress_bars, write_json

if TYPE_CHECKING:
    from onnx import ModelProto
    from vta_sw.quantize.sensitivity import Sensitivity


def sensitivity(
    network: Annotated[Path, typer.Argument(metavar="F.onnx", help="Float network.")],
    calibration: given.CalibrationOption,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="X.npz[:key]",
            help="Samples to measure on (labels: key y; without any, agreement with the float network).",
        ),
    ],
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="X.npz[:key]", help="Class of each sample of --data.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N samples of --data.")
    ] = None,
    config: Config = DEFAULT_PRESET,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="F.toml",
            callback=check_output,
            help="Write the proposal for `vta quantize --overrides`.",
        ),
    ] = None,
    within: Annotated[
        float, typer.Option("--within", metavar="POINTS", min=0, help="Propose until so near to the float network.")
    ] = 1.0,
    most: Annotated[int, typer.Option("--most", metavar="N", min=0, help="Propose at most so many layers.")] = 5,
    json: JsonFile = None,
    batch: Batch = None,
    shape: Shape = None,
    image_mean: given.ImageMean = "0",
    image_std: given.ImageStd = "1",
    calibrate_mode: given.CalibrateModeOption = None,
    nbit_input: given.NbitInput = None,
    nbit_weight: given.NbitWeight = None,
    activations: given.Activations = None,
    edge_bits: given.EdgeBits = 8,
    weight_scale: given.WeightScaleOption = WeightScale.MSE,
    rounding: given.RoundingOption = Rounding.NEAREST,
    equalize: given.Equalize = False,
    seed: given.Seed = 0,
    overrides: given.OverridesOption = None,
) -> None:
    """Rank the layers of a network by the accuracy lost when only they are quantized, then by the noise they make.

    Proposes which ones to keep at 8 bits (float, where they have 8), and writes that as overrides.

    Example: `vta sensitivity examples/digits_resnet.onnx --config int4 --calibration build/digits/train.npz
    --data build/digits/train.npz --limit 500 -o build/digits.toml`
    """
    # A corrected bias makes up for the layers before it, too, which here are float.
    options = {**locals(), "bias_correction": False}
    from vta_sw.frontend import prepare
    from vta_sw.quantize import quantize_with_report
    from vta_sw.quantize.scales import decibels
    from vta_sw.quantize.sensitivity import Score, overrides_toml, rank_layers

    cfg = load_config(config)
    chosen = given.make_config(options, cfg)
    model = prepare(network, batch=batch, shapes=parse_shapes(shape))
    source = calibration_source(calibration, inputs_of(model), given.pixels(image_mean, image_std))
    samples = read_test_data(data, labels, model, limit)
    expected = first_output(model, samples.inputs, exact=False)
    power = float((expected.astype(np.float64) ** 2).sum())

    def score(candidate: ModelProto) -> Score:
        values = first_output(candidate, samples.inputs, exact=False)
        noise = float(((values.astype(np.float64) - expected) ** 2).sum())
        percent = compare(expected.argmax(1), values.argmax(1), samples.labels).score
        return Score(percent, decibels(power, noise))

    with progress_bars() as progress:
        made = quantize_with_report(model, cfg, source, config=chosen, progress=progress)
        found = rank_layers(made, cfg, score, within=within, most=most, progress=progress)
    _print(found, "top-1" if samples.labels is not None else "same class as float", within)
    if json is not None:
        write_json(json, dataclasses.asdict(found))
    if output is not None:
        write_text(output, overrides_toml(found))
        print_done(f"{output}: {len(found.steps)} layers; give it to vta quantize --overrides")


def _print(found: Sensitivity, measure: str, within: float) -> None:
    columns = ["layer quantized alone", "operator", "weights", "output", measure, "points lost", "output dB"]
    rows = [
        [
            layer.name,
            layer.op_type,
            layer.weight_type or "-",
            layer.activation_type,
            f"{layer.score:.2f} %",
            f"{layer.lost:.2f}",
            f"{layer.snr_db:.1f}",
        ]
        for layer in found.layers
    ]
    print_table(columns, rows, right=columns[4:])
    steps = [["float", f"{found.float_score:.2f} %"], ["all layers quantized", f"{found.quantized_score:.2f} %"]]
    steps += [[f"and {step.name} float", f"{step.score:.2f} %"] for step in found.steps]
    print_table(["network, simulated", measure], steps, right=[measure])
    if not found.enough:
        print_done(f"these do not bring it within {within:g} points of float; try --rounding adaround, or --most")
