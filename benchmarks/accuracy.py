"""What quantization costs trained networks, for each type, beside onnxruntime's static quantizer on the same data.

    python benchmarks/accuracy.py [--only NETWORK[,NETWORK]] [--config TYPES[;TYPES]] [--images N] [--data DIR]
                                  [--again]

Quantized networks are compiled and run on the functional simulator; float ones and onnxruntime's in onnxruntime. What
is in build/accuracy.json already and was made by the same quantizer is not measured again. A run over all images also
writes docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from network_figures.accuracy_cases import NETWORKS, VARIANTS, Target, Variant, target
from network_figures.onnxruntime_static import quantize_with_onnxruntime
from network_figures.trained_cases import DATA_VARIABLE, TRAINED, Images, Labels, Trained, data_folder
from numpy.typing import NDArray
from vta_app import compile, run
from vta_app.accuracy import Comparison, compare, top_classes
from vta_app.output import print_table, progress_bars, stderr, write_json
from vta_arch.describe import markdown_table
from vta_arch.files import write_text
from vta_sw import quantize as quantizer
from vta_sw.frontend import prepare
from vta_sw.quantize import quantize

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
ORT = ("onnxruntime, per tensor", "onnxruntime, per channel")
"""Rows of onnxruntime's quantizer, beside those of the variants."""


@dataclass(frozen=True)
class Row:
    """One network in one form; percent of the images. ``on_cpu``: nodes that the accelerator does not run."""

    network: str
    types: str
    images: int
    float_top1: float
    top1: float
    same: float
    on_cpu: int | None
    seconds: float
    """Of quantizing."""
    made_by: str
    """Digest of the quantizer's source."""


class Data:
    """A network's images and labels, and the classes of the float network."""

    def __init__(self, case: Trained, folder: Path, limit: int | None) -> None:
        self.path = folder / case.file
        self.images: Images
        self.labels: Labels
        self.images, self.labels = case.data(folder, limit)
        self.calibration = case.calibration_data(folder)
        self.model = prepare(self.path)
        self.input = self.model.graph.input[0].name
        self.expected = top_classes(self.model, {self.input: self.images})

    def compared(self, found: NDArray[np.int64]) -> Comparison:
        """The classes found, beside float and labels."""
        return compare(self.expected, found, self.labels)


def measure(case: Trained, variant: Variant, data: Data) -> Row:
    """Quantize, compile, and run all images on the functional simulator."""
    cfg, start = variant.config(), time.perf_counter()
    with progress_bars() as progress:
        made = quantize(data.path, cfg, data.calibration, config=variant.quantization(), progress=progress)
        seconds = time.perf_counter() - start
        program = compile(made, cfg, batch=case.batch)
        report = run(program, data.images, progress=progress)
    scores = report.outputs[program.outputs[0]]
    found = data.compared(scores.reshape(len(scores), -1).argmax(1))
    return _row(case, variant.name, found, len(program.offload), seconds)


def measure_onnxruntime(case: Trained, name: str, data: Data) -> Row:
    """The same with onnxruntime's quantizer, in onnxruntime."""
    start = time.perf_counter()
    made = quantize_with_onnxruntime(data.path, data.calibration, per_channel=name == ORT[1])
    seconds = time.perf_counter() - start
    found = data.compared(top_classes(made, {data.input: data.images}))
    return _row(case, name, found, None, seconds)


def _row(case: Trained, types: str, found: Comparison, on_cpu: int | None, seconds: float) -> Row:
    assert found.float_top1 is not None
    assert found.top1 is not None
    return Row(
        case.name, types, found.samples, found.float_top1, found.top1, found.same, on_cpu, round(seconds, 1), digest()
    )


def digest() -> str:
    """Of the quantizer's source: what it makes depends on nothing else, and how it runs is exact."""
    found = hashlib.sha256()
    for path in sorted(Path(quantizer.__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


COLUMNS = (
    "network",
    "images",
    "types",
    "float",
    "target",
    "reached",
    "lost",
    "same class",
    "onnxruntime",
    "per channel",
)


def cells(row: Row, asked: Target, others: Sequence[Row | None]) -> list[str]:
    """A row of the table. ``others``: onnxruntime's, per tensor and per channel."""
    ok = asked.reached(row.float_top1, row.top1, row.same, row.images)
    mark = "" if ok is not False else " (short)"
    return [
        row.network,
        f"{row.images:,}",
        row.types,
        f"{row.float_top1:.2f} %",
        str(asked),
        f"{row.top1:.2f} %{mark}",
        f"{row.float_top1 - row.top1:+.2f}",
        f"{row.same:.2f} %",
        *("-" if other is None else f"{other.top1:.2f} %, {other.same:.2f} %" for other in others),
    ]


def table(rows: Sequence[Row]) -> list[list[str]]:
    """All rows of variants, network by network; onnxruntime's quantizer makes 8 bits, and stands beside those."""
    by_key = {(row.network, row.types): row for row in rows}
    lines = []
    for network in NETWORKS:
        for variant in VARIANTS:
            row = by_key.get((network, variant.name))
            if row is not None:
                others = [by_key.get((network, name)) if variant.name == "int8" else None for name in ORT]
                lines.append(cells(row, target(network, variant), others))
    return lines


def page(rows: Sequence[Row]) -> str:
    """docs/accuracy.md."""
    options = [
        [
            f"`{variant.name}`",
            f"`{variant.preset}`" + (" without `requant`" if variant.shift else ""),
            ", ".join(f"`{name}={value}`" for name, value in variant.options.items()) or "the defaults",
        ]
        for variant in VARIANTS
    ]
    return (
        "# Accuracy\n\n"
        "Made by `make accuracy`; do not edit. Post-training quantization without labels, with the same options for "
        "every network; compiled, and run image by image on the functional simulator, whose bits are the RTL's. "
        "Float and onnxruntime's static quantizer (defaults; min-max, on the same calibration images) run in "
        "onnxruntime. Same class: share of the images with the float network's top-1; in onnxruntime's columns it "
        "follows its top-1. A target allows one image; `(short)` stands where it is missed.\n\n"
        f"{markdown_table(list(COLUMNS), table(rows))}\n"
        f"{markdown_table(['types', 'configuration', 'options'], options)}\n"
        "The keyword network is calibrated with 100 clips and tested with 300 others; MobileNet with 24 of the 150 "
        "photos that it is tested with, which says how far it is from float, not how good it is.\n"
    )


def load(path: Path) -> dict[str, Any]:
    """Rows measured before, by key."""
    return json.loads(path.read_text()) if path.is_file() else {}


def measure_all(
    cases: Sequence[Trained], names: Sequence[str], folder: Path, limit: int | None, path: Path, *, again: bool
) -> list[Row]:
    """Measure what is not known, keeping each row as soon as it is there."""
    known, rows = load(path), []
    variants = {variant.name: variant for variant in VARIANTS}
    for case in cases:
        reason = case.missing(folder)
        if reason is not None:
            stderr().print(f"  {case.name} is left out: {reason}")
            continue
        data = Data(case, folder, limit)
        for name in names:
            variant = variants.get(name)
            if variant is not None and case.name not in (variant.networks or NETWORKS):
                continue
            key = f"{case.name}; {name}; {len(data.images)}"
            old = known.get(key)
            if old is None or again or old["made_by"] != digest():
                row = measure_onnxruntime(case, name, data) if variant is None else measure(case, variant, data)
                known[key] = asdict(row)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, known)
                stderr().print(f"  {key}: {row.top1:.2f} %, float {row.float_top1:.2f} %, same {row.same:.2f} %")
            rows.append(Row(**known[key]))
    return rows


def main() -> None:
    """Read the options, measure, print and write the table."""
    every = [*(variant.name for variant in VARIANTS), *ORT]
    parser = argparse.ArgumentParser(description="Accuracy of trained networks after quantization.")
    parser.add_argument("--only", help="these networks, separated by commas: " + ", ".join(NETWORKS))
    parser.add_argument("--config", help="these types, separated by semicolons: " + "; ".join(every))
    parser.add_argument("--images", type=int, help="only so many test images of each; writes no page")
    parser.add_argument("--data", type=Path, help=f"folder of the networks (default: ${DATA_VARIABLE}, ../shared/data)")
    parser.add_argument("--again", action="store_true", help="measure also what is known")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "accuracy.json")
    arguments = parser.parse_args()
    networks = arguments.only.split(",") if arguments.only else list(NETWORKS)
    names = arguments.config.split(";") if arguments.config else every
    for option, given, known in (("--only", networks, NETWORKS), ("--config", names, every)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"{option} {unknown[0]}: unknown; choose from: {'; '.join(known)}")
    cases = [case for case in TRAINED if case.name in networks]
    folder = arguments.data or data_folder(ROOT)
    rows = measure_all(cases, names, folder, arguments.images, arguments.json, again=arguments.again)
    print_table(COLUMNS, table(rows), right=COLUMNS[3:])
    if arguments.images is None and not arguments.only and not arguments.config:
        write_text(PAGE, page(rows))
        stderr().print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
