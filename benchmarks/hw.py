"""Speed of the accelerator's units in clock cycles, measured on its RTL with the reference memory.

    python benchmarks/hw.py [--config NAME] [--json FILE]

Every figure is a difference of two runs of small instruction streams that differ in one count, so that launch,
fetch and pipeline fill cancel; figures called "alone" are of a single instruction, its latency included. Beats are
those of the data, not of the instruction fetch. The memory: 40 cycles' read latency, one beat a cycle, 16 reads open.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
from hw_figures.bench import DATA, SHARE, Bench, Figure
from hw_figures.compute import alu_figures, gemm_figures
from hw_figures.extensions import depthwise_figures, requant_figures
from hw_figures.transfers import concurrency_figures, transfer_figures
from vta_app.output import print_table, stderr, write_json
from vta_arch.config import VTAConfig
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_sim.rtl import RtlDevice

MAX_CYCLES = 5_000_000
PARTS = (gemm_figures, alu_figures, requant_figures, depthwise_figures, transfer_figures, concurrency_figures)


def measure(cfg: VTAConfig) -> list[Figure]:
    """All figures of a configuration. Builds its simulator if need be."""
    figures: list[Figure] = []
    with RtlDevice(cfg, max_cycles=MAX_CYCLES, progress=_progress) as device:
        device.write(DATA, np.zeros(1 << 20, np.uint8))
        bench = Bench(cfg, device)
        for part in PARTS:
            figures += part(bench)
    return figures


def _progress(stage: str, done: int, total: int) -> None:
    stderr().print(f"  {stage} {done}/{total}")


def shown(figure: Figure) -> tuple[str, ...]:
    """The cells of a figure."""
    percent = figure.unit == SHARE

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}" if percent else f"{value:.2f}"

    verdict = {True: "reached", False: "MISSED", None: ""}[figure.reached]
    return (
        figure.group,
        figure.what,
        number(figure.value),
        figure.unit,
        number(figure.ideal),
        number(figure.reach),
        verdict,
    )


def main() -> None:
    """Measure, print one table, and write JSON."""
    parser = argparse.ArgumentParser(description="Speed of the accelerator's units, in cycles of its RTL.")
    parser.add_argument("--config", default=DEFAULT_PRESET, help="preset or TOML file (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config)
    figures = measure(cfg)
    numbers = ["measured", "ideal", "reach"]
    print_table(["unit", "what", "measured", "", "ideal", "reach", ""], [shown(f) for f in figures], right=numbers)
    if arguments.json:
        content = [asdict(figure) | {"reached": figure.reached} for figure in figures]
        write_json(arguments.json, {"config": cfg.name, "figures": content})


if __name__ == "__main__":
    main()
