"""One page of HTML, with nothing outside of it, that shows what quantization did."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from .quantize_report import COLUMNS, NUMBERS, layer_row, type_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from vta_sw.quantize import QuantizationReport

    from .accuracy import Comparison

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 }
th, td { border-bottom: 1px solid #ddd; padding: .2rem .7rem; text-align: left; white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
svg { max-width: 100%; height: auto }
"""
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "vta", "font.size": 9, "font.family": "sans-serif"}
"""Text stays text, and the same report gives the same file."""
_DARK, _LIGHT = "#1f5f8b", "#9cc4e0"
_INCHES_A_LAYER = 0.22


def page(report: QuantizationReport, network: str, found: Comparison | None) -> str:
    """The whole page."""
    title = f"{network} quantized for {report.config}"
    parts = [f"<h1>{escape(title)}</h1>", *_summary(report, found), *_plots(report)]
    parts += ["<h2>Layers</h2>", _LEGEND, _table(COLUMNS, [layer_row(layer) for layer in report.layers], NUMBERS)]
    if report.floats:
        parts += ["<h2>What stays float</h2>", _table(["node", "why"], list(report.floats.items()), ())]
    parts += ["<h2>Tensors of each type</h2>", _table(["type", "before", "now"], type_rows(report), ["before", "now"])]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


_LEGEND = (
    "<p>Before, everything was float32. Range: of the float network on the calibration data. Clipped: share of the "
    "output's values beyond its scale. Decibels are signal to noise: of the rounded weights, of the rounded output "
    "alone, and of the output in the quantized network, all layers before it included.</p>"
)


def _summary(report: QuantizationReport, found: Comparison | None) -> Iterator[str]:
    if found is not None:
        text = f"{found.samples:,} samples: {found.same:.2f} % have the float network's class"
        if found.top1 is not None and found.float_top1 is not None:
            text += f"; top-1 {found.top1:.2f} %, float {found.float_top1:.2f} %"
        yield f"<p>{text}.</p>"
    if report.settings:
        chosen = ", ".join(f"{name} = {value}" for name, value in report.settings.items())
        yield f"<p>Settings other than the defaults: {escape(chosen)}.</p>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> str:
    numeric = [' class="number"' if column in right else "" for column in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(numeric, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(numeric, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _plots(report: QuantizationReport) -> Iterator[str]:
    """Noise along the network, noise of the weights, and what is clipped if anything is: one bar a layer."""
    layers = report.layers
    names = [layer.name for layer in layers]
    weighted = [layer for layer in layers if layer.weight_snr_db is not None]
    with matplotlib.rc_context(_SETTINGS):
        yield _figure(
            "Signal to noise of each layer's output, dB",
            names,
            {
                "rounding this output alone": [layer.output_snr_db for layer in layers],
                "with all layers before it": [layer.prefix_snr_db for layer in layers],
            },
        )
        yield _figure(
            "Signal to noise of the weights, dB",
            [layer.name for layer in weighted],
            {"rounding": [layer.weight_snr_db or 0.0 for layer in weighted]},
        )
        clipped = [layer for layer in layers if layer.output_saturated > 0]
        if clipped:
            shares = [100 * layer.output_saturated for layer in clipped]
            yield _figure("Values clipped, %", [layer.name for layer in clipped], {"output": shares})


def _figure(title: str, names: Sequence[str], series: dict[str, list[float]]) -> str:
    """Horizontal bars, one group for each name, as SVG."""
    figure = Figure(figsize=(9, 1 + _INCHES_A_LAYER * len(series) * max(len(names), 1)), layout="constrained")
    _bars(figure.add_subplot(), names, series)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return f"<h2>{escape(title)}</h2>\n{text.getvalue().partition('<svg')[1]}{text.getvalue().partition('<svg')[2]}"


def _bars(axes: Axes, names: Sequence[str], series: dict[str, list[float]]) -> None:
    height = 0.8 / len(series)
    for index, (label, values) in enumerate(series.items()):
        finite = [value if abs(value) != float("inf") else 0.0 for value in values]
        places = [place + index * height for place in range(len(names))]
        colour = (_LIGHT, _DARK)[index + 2 - len(series)]
        axes.barh(places, finite, height, label=label, color=colour)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series), frameon=False)
