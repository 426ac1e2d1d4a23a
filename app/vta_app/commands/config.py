"""``vta config``: the presets, and one configuration in full."""

from __future__ import annotations

from typing import Annotated

import typer
from vta_arch.config import VTAConfig
from vta_arch.presets import DEFAULT_PRESET, load_config, load_preset, preset_names

from ..configs import describe, memory_rows, peak_gops
from ..options import JsonFlag
from ..output import print_json, print_table, stdout

app = typer.Typer(help="List the presets or show one configuration in full.")


def _kib(log_bytes: int) -> str:
    return f"{2**log_bytes / 1024:g}"


def _row(cfg: VTAConfig) -> list[object]:
    widths = f"{cfg.inp_width}/{cfg.wgt_width}/{cfg.acc_width}"
    block = f"{cfg.batch}x{cfg.block_in}x{cfg.block_out}"
    buffers = "/".join(_kib(getattr(cfg, f"log_{memory}_buff")) for memory in ("uop", "inp", "wgt", "acc"))
    rate = f"{peak_gops(cfg):.1f}"
    return [cfg.name, cfg.board or "-", widths, block, buffers, cfg.axi_data_width, rate, cfg.fingerprint_hex]


@app.command("list")
def list_presets(json: JsonFlag = False) -> None:
    """List the presets: widths, block, buffers, bus, peak and fingerprint.

    Example: `vta config list`
    """
    configs = [load_preset(name) for name in preset_names()]
    if json:
        print_json({cfg.name: describe(cfg) for cfg in configs})
        return
    columns = ["name", "board", "inp/wgt/acc bits", "batch x in x out", "uop/inp/wgt/acc KiB", "AXI bits", "GOPS"]
    print_table([*columns, "fingerprint"], [_row(cfg) for cfg in configs], right=["AXI bits", "GOPS"])


@app.command("show")
def show(
    config: Annotated[
        str, typer.Argument(metavar="[NAME|FILE]", help="Preset, TOML file or upstream's vta_config.json.")
    ] = DEFAULT_PRESET,
    json: JsonFlag = False,
) -> None:
    """Show every parameter, every derived size and the fingerprint of a configuration.

    Example: `vta config show pynq-z1`
    """
    cfg = load_config(config)
    values = describe(cfg)
    if json:
        print_json(values)
        return
    memories = [(n, f"{depth:,}", f"{size:,}", f"{total / 1024:g}") for n, depth, size, total in memory_rows(cfg)]
    print_table(["parameter", "value"], [(k, _shown(v)) for k, v in values["parameters"].items()])
    stdout().print()
    print_table(["scratchpad", "elements", "bytes each", "KiB"], memories, right=["elements", "bytes each", "KiB"])
    stdout().print()
    rows = [(name, f"{value:,}") for name, value in values["derived"].items()]
    rows += [("peak GOPS", f"{peak_gops(cfg):.1f}"), ("fingerprint", values["fingerprint"])]
    print_table(["derived", "value"], rows)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "-"
