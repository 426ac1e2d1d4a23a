"""``vta synth``: what a configuration costs in the board's device, before Vivado."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..options import Config, JsonFile
from ..output import print_table, progress_bars, stdout, write_json

if TYPE_CHECKING:
    from vta_boards.parts import Part
    from vta_boards.synth import Synthesis, Usage

COUNTS = ("lut", "ff", "dsp", "bram36")


class Family(StrEnum):
    """Device families by Yosys' names."""

    XC7 = "xc7"
    XCUP = "xcup"


def synth(
    config: Config = DEFAULT_PRESET,
    family: Annotated[
        Family | None, typer.Option("--family", help="Device family (default: that of the configuration's board).")
    ] = None,
    json: JsonFile = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Most time for each of the two syntheses.")
    ] = 1800,
) -> None:
    """Synthesise with Yosys: LUT, FF, DSP and BRAM of each unit, the longest path, and whether the board has room.

    Times count cells, not wires: they rank designs, Vivado decides. A result is kept and shown again at once.

    Example: `vta synth --config pynq-z1 --json build/size.json`
    """
    from vta_boards.synth import part_of, synthesize
    from vta_sim.build_cache import cache_directory

    cfg = load_config(config)
    with progress_bars() as progress:
        result = synthesize(
            cfg, None if family is None else family.value, cache=cache_directory(), timeout=timeout, progress=progress
        )
    if json is not None:
        write_json(json, result.to_dict())
    _print(result, part_of(cfg), cfg.board)


def _print(result: Synthesis, part: Part, board: str) -> None:
    from vta_boards.synth import unit_of_signal

    columns = ["unit", "LUT", "FF", "DSP", "BRAM36", "ns"]
    rows = [_row(name, usage) for name, usage in result.units.items()]
    print_table(columns, rows, right=columns[1:])
    stdout().print()
    held = [f"{getattr(part, kind):,}" for kind in COUNTS]
    shares = [f"{100 * getattr(result.total, kind) / getattr(part, kind):.1f} %" for kind in COUNTS]
    name = f"{board} ({part.name})" if board else part.name
    columns[0] = "whole accelerator"
    print_table(columns, [_row("used", result.total), [name, *held, ""], ["share", *shares, ""]], right=columns[1:])
    if result.logic_cells is not None:
        stdout().print(f"Where small LUTs share one of six inputs Yosys expects {result.logic_cells:,} logic cells.")
    stdout().print()
    if result.path is not None:
        units = [unit_of_signal(end, result.units) for end in (result.path.start, result.path.end)]
        print_table(
            ["longest path", "unit", "signal"],
            [("from", units[0], result.path.start), ("to", units[1], result.path.end)],
        )
        stdout().print()
    stdout().print(f"{'fits' if result.fits(part) else 'does NOT fit'} {name}")


def _row(name: str, usage: Usage) -> list[str]:
    time = "-" if usage.sta_ns is None else f"{usage.sta_ns:.2f}"
    return [name, f"{usage.lut:,}", f"{usage.ff:,}", f"{usage.dsp:,}", f"{usage.bram36:g}", time]
