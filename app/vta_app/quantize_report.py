"""The quantizer's report as a table, as JSON, and as one page of HTML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from vta_arch.errors import DataError
from vta_arch.files import write_text

from .accuracy import Comparison
from .output import print_table, write_json

if TYPE_CHECKING:
    from vta_sw.quantize import LayerReport, QuantizationReport

COLUMNS = (
    "layer",
    "operator",
    "input",
    "weights",
    "output",
    "scale",
    "range",
    "clipped",
    "weights dB",
    "output dB",
    "network dB",
)
"""Decibels are signal to noise: of rounding the weights, of rounding the output, and of all layers up to it."""
NUMBERS = COLUMNS[5:]
SUFFIXES = (".json", ".html")


def layer_row(layer: LayerReport) -> list[str]:
    """The cells of a layer under COLUMNS."""
    low, high = layer.output_range
    return [
        layer.name,
        layer.op_type,
        ", ".join(layer.input_types),
        layer.weight_type or "-",
        layer.activation_type,
        f"{layer.output_scale:.3g}",
        f"{low:.3g} to {high:.3g}",
        f"{100 * layer.output_saturated:.2f} %",
        "-" if layer.weight_snr_db is None else f"{layer.weight_snr_db:.1f}",
        f"{layer.output_snr_db:.1f}",
        f"{layer.prefix_snr_db:.1f}",
    ]


def type_rows(report: QuantizationReport) -> list[list[str]]:
    """Element type, tensors of it before, tensors of it now."""
    names = sorted({*report.types_before, *report.tensor_types})
    return [[name, str(report.types_before.get(name, 0)), str(report.tensor_types.get(name, 0))] for name in names]


def print_report(report: QuantizationReport) -> None:
    """Print what became of each layer, what stayed float, and the tensors of each type."""
    shown = [at for at, name in enumerate(COLUMNS) if name != "operator"]  # its name is the longest cell
    rows = [[layer_row(layer)[at] for at in shown] for layer in report.layers]
    print_table([COLUMNS[at] for at in shown], rows, right=NUMBERS)
    if report.floats:
        print_table(["stays float", "why"], list(report.floats.items()))
    print_table(["tensors of type", "before", "now"], type_rows(report), right=["before", "now"])


def check_report(path: Path) -> None:
    """Raises DataError for a file that is neither JSON nor HTML by its name."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"report {path}: must end in {' or '.join(SUFFIXES)}")


def write_report(path: Path, report: QuantizationReport, network: str, found: Comparison | None) -> None:
    """Write the report of ``network`` in the form that the file's name asks for. Raises DataError."""
    check_report(path)
    if path.suffix.lower() == ".json":
        accuracy = None if found is None else dataclasses.asdict(found)
        write_json(path, {"network": network, **report.to_dict(), "accuracy": accuracy})
        return
    from .report_page import page

    write_text(path, page(report, network, found))
