"""Options of the sub-commands that quantize, and the QConfig that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from vta_arch.errors import ConfigError, DataError
from vta_sw.quantize_choices import CalibrateMode, PartitionConversions, Rounding, WeightScale

from .calibration import Pixels

if TYPE_CHECKING:
    from vta_arch.config import VTAConfig
    from vta_sw.quantize import QConfig

CALIBRATION_PANEL = "Calibration"
WIDTHS_PANEL = "Types"
WEIGHTS_PANEL = "Weights"
LAYERS_PANEL = "Which layers"
RESULT_PANEL = "Result"


class Signs(StrEnum):
    """Signs of activations."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"


CalibrationOption = Annotated[
    str,
    typer.Option(
        "--calibration",
        metavar="X.npz[:key]|FOLDER",
        help="Inputs of the network, samples first (key: x); or a folder of npz files, or of PNG or JPEG pictures.",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
ImageMean = Annotated[
    str,
    typer.Option(
        "--image-mean",
        metavar="M[,M,M]",
        help="Pictures: subtracted from each pixel of 0 to 255.",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
ImageStd = Annotated[
    str,
    typer.Option(
        "--image-std", metavar="S[,S,S]", help="Pictures: then divides each pixel.", rich_help_panel=CALIBRATION_PANEL
    ),
]
CalibrateModeOption = Annotated[
    CalibrateMode | None,
    typer.Option(
        "--calibrate-mode",
        help="How the scale of an activation is found (default: mse).",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
Percentile = Annotated[
    float | None,
    typer.Option(
        "--percentile",
        metavar="P",
        help="Mode percentile: percent of the magnitudes that are not clipped (default: 99.99).",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
GlobalScale = Annotated[
    str | None,
    typer.Option(
        "--global-scale",
        metavar="S[,S...]",
        help="Mode global_scale: greatest magnitude of every activation. Several: all are tried on --data.",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
ChunkBy = Annotated[
    int | None,
    typer.Option(
        "--calibrate-chunk-by",
        metavar="N",
        min=1,
        help="Samples that run at once (default: what fits 48 MiB, at most 32).",
        rich_help_panel=CALIBRATION_PANEL,
    ),
]
NbitInput = Annotated[
    int | None,
    typer.Option(
        "--nbit-input",
        metavar="N",
        help="Bits of activations (default: the configuration's).",
        rich_help_panel=WIDTHS_PANEL,
    ),
]
NbitWeight = Annotated[
    int | None,
    typer.Option(
        "--nbit-weight",
        metavar="N",
        help="Bits of weights (default: the configuration's).",
        rich_help_panel=WIDTHS_PANEL,
    ),
]
NbitActivation = Annotated[
    int | None,
    typer.Option(
        "--nbit-activation",
        metavar="N",
        help="Bits of accumulators (default: the configuration's).",
        rich_help_panel=WIDTHS_PANEL,
    ),
]
Activations = Annotated[
    Signs | None,
    typer.Option(
        "--activations",
        help="signed: all; unsigned: those without negative values (default: unsigned where the hardware can).",
        rich_help_panel=WIDTHS_PANEL,
    ),
]
EdgeBits = Annotated[
    int,
    typer.Option(
        "--edge-bits",
        metavar="N",
        help="Least bits of the network's input and of its first and last layer; 0: as elsewhere.",
        rich_help_panel=WIDTHS_PANEL,
    ),
]
WeightScaleOption = Annotated[
    WeightScale,
    typer.Option("--weight-scale", help="How the scale of a channel is found.", rich_help_panel=WEIGHTS_PANEL),
]
RoundingOption = Annotated[
    Rounding,
    typer.Option(
        "--rounding",
        help="sequential, in seconds, and adaround, which decides below 8 bits, fit them to what the layer reads.",
        rich_help_panel=WEIGHTS_PANEL,
    ),
]
RoundingSteps = Annotated[
    int,
    typer.Option(
        "--rounding-steps", metavar="N", min=1, help="Steps of adaround a layer.", rich_help_panel=WEIGHTS_PANEL
    ),
]
BiasCorrection = Annotated[
    bool,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Take the mean error of each channel out of its bias.",
        rich_help_panel=WEIGHTS_PANEL,
    ),
]
Equalize = Annotated[
    bool,
    typer.Option("--equalize", help="Balance channels between two convolutions first.", rich_help_panel=WEIGHTS_PANEL),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, help="Of stochastic and fitted rounding.", rich_help_panel=WEIGHTS_PANEL
    ),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-float",
        metavar="NODE",
        help="Keep this node float; * and ? stand for any text. May be given more than once.",
        rich_help_panel=LAYERS_PANEL,
    ),
]
SkipDense = Annotated[
    bool, typer.Option("--skip-dense-layer", help="Keep dense layers float.", rich_help_panel=LAYERS_PANEL)
]
SkipConv = Annotated[
    str | None,
    typer.Option(
        "--skip-conv-layers",
        metavar="N[,N...]",
        help="Keep these convolutions float; the first is 0.",
        rich_help_panel=LAYERS_PANEL,
    ),
]
EnabledOps = Annotated[
    str | None,
    typer.Option(
        "--debug-enabled-ops", metavar="OP[,OP...]", help="Quantize only these operators.", rich_help_panel=LAYERS_PANEL
    ),
]
OverridesOption = Annotated[
    Path | None,
    typer.Option(
        "--overrides",
        metavar="F.toml",
        help="Bits, keep_float, calibration and rounding by node name or pattern.",
        rich_help_panel=LAYERS_PANEL,
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate",
        help="Write a float network with SimQuantize nodes instead of integers.",
        rich_help_panel=RESULT_PANEL,
    ),
]
Conversions = Annotated[
    PartitionConversions,
    typer.Option(
        "--partition-conversions",
        help="fully_integral: inputs and outputs of the file are integers.",
        rich_help_panel=RESULT_PANEL,
    ),
]


def make_config(options: Mapping[str, Any], cfg: VTAConfig) -> QConfig:
    """The QConfig of command-line options: those whose names are its fields, and what the others stand for.

    ``--percentile`` and ``--global-scale`` choose their mode. Raises ConfigError where options contradict each other.
    """
    from vta_sw.quantize import QConfig, load_overrides

    given = {item.name: options[item.name] for item in fields(QConfig) if options.get(item.name) is not None}
    given["calibrate_mode"] = _mode(options)
    given["keep_float"] = tuple(options.get("keep_float") or ())
    given["edge_bits"] = options["edge_bits"] or None
    if options.get("overrides") is not None:
        given["overrides"] = load_overrides(options["overrides"])
    if options.get("skip_conv_layers") is not None:
        given["skip_conv_layers"] = _whole_numbers("--skip-conv-layers", options["skip_conv_layers"])
    if options.get("debug_enabled_ops") is not None:
        given["debug_enabled_ops"] = tuple(name.strip() for name in options["debug_enabled_ops"].split(","))
    if options.get("activations") is not None:
        sign = "" if options["activations"] is Signs.SIGNED else "u"
        given["dtype_input"] = f"{sign}int{options.get('nbit_input') or cfg.inp_width}"
    if options.get("global_scale") is not None:
        given["global_scale"] = numbers("--global-scale", options["global_scale"])[0]
    return QConfig(**given)


def _mode(options: Mapping[str, Any]) -> CalibrateMode:
    """The mode asked for, or that of the value given. Raises ConfigError where they differ."""
    asked = options.get("calibrate_mode")
    implied = {"percentile": CalibrateMode.PERCENTILE, "global_scale": CalibrateMode.GLOBAL_SCALE}
    for name, mode in implied.items():
        if options.get(name) is None:
            continue
        if asked not in (None, mode):
            option = name.replace("_", "-")
            raise ConfigError(
                f"--{option} {options[name]} contradicts --calibrate-mode {asked}; leave one out, or give {mode}"
            )
        asked = mode
    return asked or CalibrateMode.MSE


def numbers(option: str, text: str) -> tuple[float, ...]:
    """``"1,2.5"`` -> ``(1.0, 2.5)``. Raises DataError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{option} {text}: must be numbers with commas between them, as in 2,4,8") from None


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{option} {text}: must be whole numbers with commas between them, as in 0,3") from None


def pixels(mean: str, std: str) -> Pixels:
    """What ``--image-mean`` and ``--image-std`` say. Raises DataError."""
    divisors = numbers("--image-std", std)
    if not all(value > 0 for value in divisors):
        raise DataError(f"--image-std {std}: must be positive")
    return Pixels(numbers("--image-mean", mean), divisors)
