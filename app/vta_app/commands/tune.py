"""``vta tune``: better tilings by measurement."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..options import Config, JsonFile
from ..output import print_done, print_table, progress_bars, write_json
from ..tuned_cache import TuningBackend


def tune(
    network: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized (QDQ) network.")],
    config: Config = DEFAULT_PRESET,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, max=24, help="Tilings measured of each layer shape.")
    ] = 8,
    backend: Annotated[TuningBackend, typer.Option("--backend", help="What measures.")] = TuningBackend.RTL,
    json: JsonFile = None,
) -> None:
    """Measure good tilings of convolutions, dense layers and pools; `vta compile` then uses the best ones.

    They are kept by layer shape and configuration in the cache directory.

    Example: `vta tune build/digits_q.onnx --trials 4`
    """
    from ..tuning import tune as tune_network

    cfg = load_config(config)
    with progress_bars() as progress:
        report = tune_network(network, cfg, trials=trials, backend=backend, progress=progress)
    columns = ["layer shape", "tried", "cycles untuned", "cycles tuned", "gain"]
    rows = [
        [layer.shape, layer.tried, f"{layer.untuned:,}", f"{layer.tuned:,}", f"{layer.gain:.2f} %"]
        for layer in report.layers
    ]
    print_table(columns, rows, right=columns[1:])
    print_done(f"{report.file}: {len(report.layers)} layer shapes of {cfg.name}")
    if json is not None:
        write_json(json, [asdict(layer) | {"gain_percent": layer.gain} for layer in report.layers])
