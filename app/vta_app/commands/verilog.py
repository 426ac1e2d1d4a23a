"""``vta verilog``: the accelerator's Verilog."""

from __future__ import annotations

from vta_arch.files import write_text
from vta_arch.presets import DEFAULT_PRESET, load_config

from ..options import Config, Output
from ..output import print_done


def verilog(output: Output, config: Config = DEFAULT_PRESET) -> None:
    """Write the Verilog of a configuration: one top, `vta_top`, with Vivado's AXI port names.

    Example: `vta verilog --config pynq-z1 -o build/vta_top.v`
    """
    from vta_hw.verilog import generate_verilog

    cfg = load_config(config)
    text = generate_verilog(cfg)
    write_text(output, text)
    print_done(f"{output}: vta_top for {cfg.name} ({cfg.fingerprint_hex}), {text.count(chr(10)):,} lines")
