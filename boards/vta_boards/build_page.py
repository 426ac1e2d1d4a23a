"""The README of a build folder."""

from __future__ import annotations

from collections.abc import Sequence

from vta_arch.config import VTAConfig

from .board import CONTROL_SIZE, Board

_WHAT = {
    "build.tcl": "the whole build, from the project to the files below",
    "block_design.tcl": "processing system, accelerator, interconnects, reset, addresses",
    "settings.tcl": "every choice that the two scripts ask for",
    "build.sh": "synthesis, placement and routing, bitstream",
    "constraints.xdc": "constraints",
    "vta_top.v": "the accelerator",
    "vta_accelerator.v": "`vta_top.v` with interface attributes for the block design",
    "vta_ps7_top.v": "the accelerator with the processing system's primitive",
}


def build_page(
    board: Board, cfg: VTAConfig, flow: str, command: Sequence[str], products: Sequence[str], files: Sequence[str]
) -> str:
    """Markdown: what this is, the one command, what comes out, what next."""
    system = board.system
    rows = [f"| `{name}` | {_WHAT[name]} |" for name in files]
    data = "; `CHIPDB` and `PRJXRAY_DB` name the folders of their data" if flow == "openxc7" else ""
    return f"""# VTA `{cfg.name}` for the {board.name}

Built for {board.device} at {cfg.clock_mhz:g} MHz. Fingerprint `{cfg.fingerprint_hex}`: programs compiled with
`--config config.json` run on it, others are refused.

## Build

    {" ".join(command)}

in this folder, with {", ".join(_tools(flow))} on PATH{data}.
It fails when timing is not met, otherwise it makes:

{chr(10).join(f"- `{name}`" for name in products)}

## Then

    vta board flash {board.key} . --via ssh --host USER@BOARD
    vta compile Q.onnx --config config.json -o network.vta

`docs/boards.md` of the framework goes on from here.

| file | what it is |
| --- | --- |
{chr(10).join(rows)}
| `config.json` | the configuration |
| `vta.json` | board, fingerprint, clock and names, for `vta board flash` |

| connection | value |
| --- | --- |
| registers | {system.control_port}, {system.control_base:#010x}, {CONTROL_SIZE // 1024} KiB |
| memory | {system.memory_port}, {cfg.axi_data_width} bits, not coherent with the caches |
| clock, reset | {system.clock}, {system.reset} |
| interrupt | {system.interrupt}[0], GIC shared interrupt {system.gic_interrupt} |
"""


def _tools(flow: str) -> tuple[str, ...]:
    return ("Vivado",) if flow == "vivado" else ("Yosys", "nextpnr-xilinx", "Project X-Ray")
