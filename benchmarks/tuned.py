"""What tuning wins: whole networks on the RTL, with the compiler's own tilings and with those that were measured best.

Usage: python benchmarks/tuned.py [--network NAME]... [--trials N] [--json FILE]

Of each layer shape the compiler's tiling and the next best ones run alone on the RTL, and the best of them is used in
the tuned network. Nothing is read from or written to what `vta tune` remembers. Status 1 when an untuned network takes
more than 5 % longer.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from network_figures.cases import CASES, Case
from network_figures.measure import seeded
from vta_app import Program, load_config, quantize, run
from vta_app.output import print_table, stderr, write_json
from vta_app.tuning import TunedLayer, measure_tilings
from vta_sw.compiler import compile
from vta_sw.lower.choice import TilingChoice, sizes_of

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 5.0
"""Percent more than the tuned network's cycles that the untuned one may take."""


@dataclass(frozen=True)
class Gain:
    """Cycles of a network; ``shapes``: of its layers; ``changed``: those for which tuning knows better."""

    network: str
    config: str
    trials: int
    shapes: int
    changed: int
    worst_shape: float
    """Percent more than tuned that the shape takes which loses most, alone."""
    untuned: int
    tuned: int

    @property
    def percent(self) -> float:
        """How much longer than the tuned network the untuned one takes."""
        return 100 * (self.untuned - self.tuned) / self.tuned


def measure(case: Case, trials: int) -> Gain:
    """Tune a network of the zoo and run it both ways. Raises what compiling and running raise."""
    cfg = load_config(case.preset)
    model, images = seeded(case.network, case.calibration)
    network = quantize(model, cfg, images)
    found = measure_tilings(network, cfg, trials=trials, packing="cycles")
    tuned = {key: sizes_of(layer.best) for key, layer in found.items()}
    programs = [compile(network, cfg, packing="cycles", choice=TilingChoice(known)) for known in ({}, tuned)]
    untuned, best = (cycles(program, images[:1]) for program in programs)
    layers: list[TunedLayer] = list(found.values())
    changed = sum(layer.tuned < layer.untuned for layer in layers)
    worst = max((layer.gain for layer in layers), default=0.0)
    return Gain(case.network, cfg.name, trials, len(layers), changed, worst, untuned, best)


def cycles(program: Program, image: np.ndarray) -> int:
    """Of one image on the RTL; all outputs are compared with the reference."""
    report, wanted = run(program, image, backend="rtl"), run(program, image, backend="reference")
    assert all(np.array_equal(report.outputs[name], wanted.outputs[name]) for name in program.outputs)
    assert report.cycles is not None
    return report.cycles


def main() -> None:
    """Measure, print the table, write JSON; status 1 past the limit."""
    parser = argparse.ArgumentParser(description="Untuned networks beside tuned ones.")
    parser.add_argument("--network", action="append", choices=[case.network for case in CASES])
    parser.add_argument("--trials", type=int, default=8, help="tilings measured of each layer shape (default: 8)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_tuned.json")
    arguments = parser.parse_args()
    gains = []
    for case in CASES:
        if arguments.network and case.network not in arguments.network:
            continue
        stderr().print(f"  {case.network}")
        gains.append(measure(case, arguments.trials))
    columns = ["network", "configuration", "shapes", "better", "worst alone", "untuned", "tuned", "untuned takes"]
    rows = [
        [
            gain.network,
            gain.config,
            str(gain.shapes),
            str(gain.changed),
            f"{gain.worst_shape:+.1f} %",
            f"{gain.untuned:,}",
            f"{gain.tuned:,}",
            f"{gain.percent:+.2f} %",
        ]
        for gain in gains
    ]
    print_table(columns, rows, right=columns[2:])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.json, [asdict(gain) | {"percent": gain.percent} for gain in gains])
    sys.exit(any(gain.percent > LIMIT for gain in gains))


if __name__ == "__main__":
    main()
