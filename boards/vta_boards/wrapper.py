"""The Verilog module that Vivado's block design takes: the accelerator's ports with what they mean."""

from __future__ import annotations

from amaranth.lib import wiring
from vta_arch.config import VTAConfig
from vta_hw.axi import MAX_BURST_BEATS
from vta_hw.guard import MAX_OUTSTANDING_WRITES
from vta_hw.read_arbiter import MAX_OUTSTANDING_READS
from vta_hw.top import CONTROL_PREFIX, MEMORY_PREFIX, top_ports
from vta_hw.verilog import TOP_NAME

WRAPPER_NAME = "vta_accelerator"
_AXI = "xilinx.com:interface:aximm:1.0"
_SINGLE = {
    "aclk": ("xilinx.com:signal:clock:1.0 aclk CLK", "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET aresetn"),
    "aresetn": ("xilinx.com:signal:reset:1.0 aresetn RST", "POLARITY ACTIVE_LOW"),
    "interrupt": ("xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT", "SENSITIVITY LEVEL_HIGH"),
}
_FREE_CLOCK = ", FREQ_TOLERANCE_HZ -1"
"""The clock's frequency is the block design's business."""


def generate_wrapper(cfg: VTAConfig) -> str:
    """Verilog of ``vta_accelerator``: :data:`vta_hw.verilog.TOP_NAME` within, interface attributes on every port."""
    declared, connected = [], []
    for name, member in top_ports(cfg).items():
        direction = "input " if member.flow == wiring.In else "output"
        width = f"[{member.shape - 1}:0] " if member.shape > 1 else ""
        declared.append(f"{_attributes(cfg, name)}    {direction} wire {width}{name}")
        connected.append(f"        .{name}({name})")
    lines = [
        f"// The accelerator of configuration {cfg.name} ({cfg.fingerprint_hex}) for a block design.",
        f"module {WRAPPER_NAME} (",
        ",\n".join(declared),
        ");",
        f"    {TOP_NAME} inner (",
        ",\n".join(connected),
        "    );",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _attributes(cfg: VTAConfig, name: str) -> str:
    if name in _SINGLE:
        info, parameter = _SINGLE[name]
        buses = ":".join(prefix.rstrip("_") for prefix in (CONTROL_PREFIX, MEMORY_PREFIX))
        parameter = parameter.format(buses=buses) + (_FREE_CLOCK if name == "aclk" else "")
        return _attribute("X_INTERFACE_INFO", info) + _attribute("X_INTERFACE_PARAMETER", parameter)
    prefix = CONTROL_PREFIX if name.startswith(CONTROL_PREFIX) else MEMORY_PREFIX
    bus, signal = prefix.rstrip("_"), name.removeprefix(prefix)
    text = _attribute("X_INTERFACE_INFO", f"{_AXI} {bus} {signal.upper()}")
    if signal == "awaddr":
        text += _attribute("X_INTERFACE_PARAMETER", f"XIL_INTERFACENAME {bus}, {_parameters(cfg)[bus]}")
    return text


def _parameters(cfg: VTAConfig) -> dict[str, str]:
    """What an interconnect should know of either port, by bus."""
    memory = {
        "PROTOCOL": "AXI4",
        "DATA_WIDTH": cfg.axi_data_width,
        "ADDR_WIDTH": cfg.axi_addr_width,
        "MAX_BURST_LENGTH": MAX_BURST_BEATS,
        "NUM_READ_OUTSTANDING": MAX_OUTSTANDING_READS,
        "NUM_WRITE_OUTSTANDING": MAX_OUTSTANDING_WRITES,
        "SUPPORTS_NARROW_BURST": 0,
    }
    shown = ", ".join(f"{name} {value}" for name, value in memory.items())
    return {CONTROL_PREFIX.rstrip("_"): "PROTOCOL AXI4LITE, DATA_WIDTH 32", MEMORY_PREFIX.rstrip("_"): shown}


def _attribute(name: str, value: str) -> str:
    return f'    (* {name} = "{value}" *)\n'
