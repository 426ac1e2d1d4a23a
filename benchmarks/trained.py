"""Trained networks whole: accuracy of the float and of the quantized network, and cycles on the RTL.

    python benchmarks/trained.py [--config NAME] [--only NAME[,NAME]] [--images N] [--functional] [--data DIR]

Accuracy of the quantized network is that of the functional simulator; float (or the QDQ file as it is) runs in
onnxruntime. One image runs on the RTL, where every layer is compared with the integer reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from network_figures.trained_cases import DATA_VARIABLE, TRAINED, Trained, data_folder
from onnx import ModelProto
from vta_app import VTAConfig, compile, load_config, quantize, run
from vta_app.accuracy import share, top_classes
from vta_app.output import print_table, stderr, write_json
from vta_arch.presets import DEFAULT_PRESET
from vta_sw.frontend import prepare

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Accuracy:
    """What was measured of a network; top-1 in percent. ``cycles`` is None without RTL."""

    network: str
    images: int
    float_top1: float
    quantized_top1: float
    same_class: float
    """Percent of the images in which both have the same class."""
    differing: int
    """Elements that differ from the integer reference, one image on each simulator."""
    cycles: int | None
    ideal: float
    seconds: float
    """Functional simulation of all images."""


def measure(case: Trained, cfg: VTAConfig, folder: Path, limit: int | None, *, rtl: bool) -> Accuracy:
    """Quantize (unless it is), compile and run a network."""
    images, labels = case.data(folder, limit)
    network: Path | ModelProto = folder / case.file
    if case.calibration is not None:
        network = quantize(network, cfg, case.calibration_data(folder))
    report = run(compile(network, cfg, batch=case.batch), images)
    single = compile(network, cfg)
    alone = [run(single, images[: single.batch], backend=name, check=True) for name in ("functional", "rtl")[: 1 + rtl]]
    scores = next(iter(report.outputs.values()))
    found = scores.reshape(len(scores), -1).argmax(1)
    model = prepare(folder / case.file)
    expected = top_classes(model, {model.graph.input[0].name: images})
    return Accuracy(
        network=case.name,
        images=len(images),
        float_top1=share(expected, labels),
        quantized_top1=share(found, labels),
        same_class=share(found, expected),
        differing=sum(report.mismatches or 0 for report in alone),
        cycles=alone[-1].cycles if rtl else None,
        ideal=single.macs / cfg.macs_per_cycle,
        seconds=report.seconds,
    )


def shown(result: Accuracy) -> tuple[str, ...]:
    """The cells of a network's row."""
    return (
        result.network,
        f"{result.images:,}",
        f"{result.float_top1:.2f} %",
        f"{result.quantized_top1:.2f} %",
        f"{result.quantized_top1 - result.float_top1:+.2f}",
        f"{result.same_class:.2f} %",
        str(result.differing),
        "-" if result.cycles is None else f"{result.cycles:,}",
        f"{result.ideal:,.0f}",
        f"{result.images / result.seconds:.1f}",
    )


COLUMNS = ("network", "images", "float", "quantized", "points", "same class", "differ", "cycles", "ideal", "images/s")


def table(cases: Sequence[Trained], cfg: VTAConfig, folder: Path, limit: int | None, *, rtl: bool) -> list[Accuracy]:
    """Measure the networks whose files are there, and print one table."""
    results = []
    for case in cases:
        reason = case.missing(folder)
        if reason is not None:
            stderr().print(f"  {case.name} is left out: {reason}")
            continue
        results.append(measure(case, cfg, folder, limit, rtl=rtl))
        stderr().print(f"  {', '.join(shown(results[-1]))}")
    if results:
        print_table(COLUMNS, [shown(result) for result in results], right=COLUMNS[1:])
    return results


def main() -> None:
    """Read the options and measure."""
    known = {case.name: case for case in TRAINED}
    parser = argparse.ArgumentParser(description="Trained networks: accuracy, and cycles of the accelerator's RTL.")
    parser.add_argument("--config", default=DEFAULT_PRESET, help="preset or TOML file (default: %(default)s)")
    parser.add_argument("--only", help="these networks, separated by commas: " + ", ".join(known))
    parser.add_argument("--images", type=int, help="only so many test images of each")
    parser.add_argument("--functional", action="store_true", help="no RTL")
    parser.add_argument("--data", type=Path, help=f"folder of the networks (default: ${DATA_VARIABLE}, ../shared/data)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_trained.json")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"--only {unknown[0]}: unknown; networks: {', '.join(known)}")
    cfg = load_config(arguments.config)
    folder = arguments.data or data_folder(ROOT)
    results = table([known[name] for name in names], cfg, folder, arguments.images, rtl=not arguments.functional)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.json, {"config": cfg.name, "networks": [asdict(result) for result in results]})
    if any(result.differing for result in results):
        parser.exit(1, "trained: the simulators differ from the integer reference\n")


if __name__ == "__main__":
    main()
