"""``vta quantize``: a float network to the configuration's widths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..arrays import read_array
from ..options import Batch, Config, Output, Shape, parse_shapes
from ..output import print_done, progress_bars


def quantize(
    network: Annotated[Path, typer.Argument(metavar="F.onnx", help="Float network.")],
    calibration: Annotated[
        str, typer.Option("--calibration", metavar="X.npz[:key]", help="Inputs of the network, images first (key: x).")
    ],
    output: Output,
    config: Config = DEFAULT_PRESET,
    batch: Batch = None,
    shape: Shape = None,
) -> None:
    """Quantize a float network to a standard QDQ ONNX file.

    Example: `vta quantize examples/digits_resnet.onnx --calibration build/digits/train.npz -o build/digits_q.onnx`
    """
    from vta_sw.frontend import save_model
    from vta_sw.quantize import quantize as quantize_model

    cfg = load_config(config)
    images = read_array(calibration, "x")
    with progress_bars() as progress:
        made = quantize_model(network, cfg, images, batch=batch, shapes=parse_shapes(shape), progress=progress)
    save_model(made, output)
    print_done(f"{output}: {network.name} quantized for {cfg.name} with {len(images)} calibration images")
