"""The open flow for a Zynq-7000: Yosys, nextpnr-xilinx and Project X-Ray, without the vendor's tool.

The script is ours because BRAM, DSP and the clock's constraint matter here. Its top has the PS7 primitive itself;
nobody sets up the processing system, so whoever loads the bitstream sets the clock and the width of the memory port.
"""

from __future__ import annotations

from vta_arch.config import VTAConfig
from vta_arch.errors import BoardError

from .board import Board
from .flow import Flow
from .ps7_top import PS7_TOP, generate_ps7_verilog

OPENXC7 = Flow(
    "openxc7",
    ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit"),
    ("sh", "build.sh"),
    "nextpnr.log",
    "install openXC7 (https://github.com/openXC7/toolchain-installer)",
)
_CONSTRAINTS = """\
# The accelerator's clock is FCLK0, {clock:g} MHz.
create_clock -name fabric -period {period:.3f} [get_nets fabric_clk]
"""
# nextpnr estimates the clock several times; the last line is that of the routed design.
_TIMING = """\
reached=$(sed -n 's/.*\\(Max frequency for clock.*\\)/\\1/p' nextpnr.log | tail -n 1)
case $reached in
*FAIL*) echo "vta: error: timing failed: $reached; choose a lower --clock"; exit 1 ;;
'') echo "vta: warning: nextpnr.log does not say which clock the design reaches" ;;
esac"""


def openxc7_files(board: Board, cfg: VTAConfig, stem: str) -> dict[str, str]:
    """Name -> text of everything that the open tools need. Raises BoardError for a board that they do not know."""
    if board.system.family != "zynq7":
        raise BoardError(f"board {board.key}: openXC7 knows Zynq-7000 only, this is {board.device}; use --flow vivado")
    return {
        f"{PS7_TOP}.v": generate_ps7_verilog(cfg),
        "constraints.xdc": _CONSTRAINTS.format(clock=cfg.clock_mhz, period=1000 / cfg.clock_mhz),
        "build.sh": _script(board, cfg, stem),
    }


def _script(board: Board, cfg: VTAConfig, stem: str) -> str:
    chip = board.device.rpartition("-")[0]
    steps = {
        "synthesis": f"yosys -q -l yosys.log -p 'read_verilog {PS7_TOP}.v; "
        f"synth_xilinx -family xc7 -top {PS7_TOP} -flatten -abc9; write_json {PS7_TOP}.json'",
        "placement and routing": f'nextpnr-xilinx --chipdb "$CHIPDB/{chip}.bin" --xdc constraints.xdc '
        f"--json {PS7_TOP}.json --fasm {stem}.fasm --freq {cfg.clock_mhz:g} --log nextpnr.log --quiet",
        "frames": f'fasm2frames --part {board.device} --db-root "$PRJXRAY_DB/zynq7" {stem}.fasm > {stem}.frames',
        "bitstream": f'xc7frames2bit --part_file "$PRJXRAY_DB/zynq7/{board.device}/part.yaml" '
        f"--part_name {board.device} --frm_file {stem}.frames --output_file {stem}.bit",
    }
    lines = [
        "#!/bin/sh",
        f"# From the Verilog to {stem}.bit. CHIPDB is the folder with {chip}.bin, PRJXRAY_DB that of prjxray-db.",
        "set -eu",
        'cd "$(dirname "$0")"',
        f': "${{CHIPDB:?set it to the folder with {chip}.bin}}" "${{PRJXRAY_DB:?set it to the folder of prjxray-db}}"',
        f"rm -f {stem}.fasm {stem}.frames {stem}.bit {stem}.bin  # of an earlier run",
    ]
    for number, (what, command) in enumerate(steps.items(), 1):
        lines += [f'echo "vta: step {number} of {len(steps)}: {what}"', command]
        lines += [_TIMING] if command.startswith("nextpnr") else []
    return "\n".join([*lines, f'echo "vta: done: {stem}.bit"']) + "\n"
