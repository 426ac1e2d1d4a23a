"""The Vivado flow: the files of its build folder."""

from __future__ import annotations

from importlib import resources

from vta_arch.config import VTAConfig
from vta_hw.verilog import TOP_NAME, generate_verilog

from .board import CONTROL_SIZE, Board
from .flow import Flow
from .wrapper import WRAPPER_NAME, generate_wrapper

DESIGN = "vta_system"
VIVADO = Flow(
    "vivado",
    ("vivado",),
    ("vivado", "-mode", "batch", "-nojournal", "-log", "vivado.log", "-source", "build.tcl"),
    "vivado.log",
    "source Vivado's settings64.sh first",
)
SCRIPTS = ("build.tcl", "block_design.tcl")
_CONSTRAINTS = """\
# The clock's constraint comes with the processing system. What is left belongs to the bitstream.
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
"""


def vivado_files(board: Board, cfg: VTAConfig, stem: str) -> dict[str, str]:
    """Name -> text of everything that Vivado needs for ``cfg`` on ``board``, its products named after ``stem``."""
    files = {name: (resources.files("vta_boards") / "tcl" / name).read_text(encoding="utf-8") for name in SCRIPTS}
    return files | {
        f"{TOP_NAME}.v": generate_verilog(cfg),
        f"{WRAPPER_NAME}.v": generate_wrapper(cfg),
        "constraints.xdc": _CONSTRAINTS,
        "settings.tcl": settings(board, cfg, stem),
    }


def settings(board: Board, cfg: VTAConfig, stem: str) -> str:
    """settings.tcl: the array ``vta`` with every choice that the scripts ask for."""
    system = board.system
    high = board.memory_mib > system.low_memory_mib and cfg.axi_addr_width > 32
    values = {
        "stem": stem,
        "design": DESIGN,
        "module": WRAPPER_NAME,
        "sources": f"{TOP_NAME}.v {WRAPPER_NAME}.v",
        "constraints": "constraints.xdc",
        "device": board.device,
        "board_part": board.board_part,
        "board_files": board.board_files,
        "carrier_connector": board.carrier_connector,
        "carrier_part": board.carrier_part,
        "family": system.family,
        "system_ip": system.ip,
        "system": system.cell,
        "control_port": system.control_port,
        "control_clock": system.control_clock,
        "memory_port": system.memory_port,
        "memory_clock": system.memory_clock,
        "memory_width": cfg.axi_data_width,
        "memory_segments": " ".join(system.memory_segments if high else system.memory_segments[:1]),
        "clock": system.clock,
        "reset": system.reset,
        "interrupt": system.interrupt,
        "clock_mhz": f"{cfg.clock_mhz:g}",
        "control_base": f"{system.control_base:#010x}",
        "control_size": f"{CONTROL_SIZE // 1024}K",
    }
    lines = [f"set vta({name}) {{{value}}}" for name, value in values.items()]
    return "\n".join([f"# {cfg.name} ({cfg.fingerprint_hex}) on {board.name}", *lines]) + "\n"
