"""The device tree overlay of a build: bitstream, clock, UIO device and buffer, for Linux to take in while it runs.

All nodes are children of the FPGA region, so that the kernel programs the fabric before it makes their devices.
"""

from __future__ import annotations

from vta_arch.config import VTAConfig

from .board import CONTROL_SIZE, Board, ProcessingSystem
from .devices.opening import BUFFER_MIB, BUFFER_NAME, UIO_NAME

LEVEL_HIGH = 4
"""Kind of the accelerator's interrupt, as the GIC's binding counts: its line stays high until it is cleared."""
_FCLK0 = {"zynq7": "&clkc 15", "zynqmp": "&zynqmp_clk 71"}
"""The fabric's first clock, by the clock controllers' bindings."""
_GIC = {"zynq7": "&intc", "zynqmp": "&gic"}
"""Label of the interrupt controller in the kernels' device trees."""
_AFIFM2_RD, _AFIFM2_WR, _AFI_FS = 4, 5, 14
"""Registers by number of the binding xlnx,afi-fpga: the FIFO of S_AXI_HP0_FPD, and the widths of M_AXI_HPM0/1_FPD."""
_FABRIC_WIDTH = {128: 0, 64: 1, 32: 2}


def overlay(board: Board, cfg: VTAConfig, firmware: str, *, memory_mib: int = BUFFER_MIB) -> str:
    """Source of the overlay (``dtc -@`` compiles it).

    Args:
        board: where the accelerator runs.
        cfg: its configuration, for the clock and the width of the memory port, which the board must have.
        firmware: name of the ``.bin`` below /lib/firmware.
        memory_mib: size of the u-dma-buf buffer, in MiB.
    """
    system = board.system
    base, size = _cells(system, board.system.control_base), _cells(system, CONTROL_SIZE)
    lines = [
        f"/* {board.name}, configuration {cfg.name} ({cfg.fingerprint_hex}) */",
        "/dts-v1/;",
        "/plugin/;",
        "",
        "&fpga_full {",
        f"\t#address-cells = <{2 if system.family == 'zynqmp' else 1}>;",
        f"\t#size-cells = <{2 if system.family == 'zynqmp' else 1}>;",
        f'\tfirmware-name = "{firmware}";',
        "",
        *_port(system, cfg),
        "\tvta_clock: vta-clock {",
        '\t\tcompatible = "xlnx,fclk";',
        f"\t\tclocks = <{_FCLK0[system.family]}>;",
        f"\t\tassigned-clocks = <{_FCLK0[system.family]}>;",
        f"\t\tassigned-clock-rates = <{round(cfg.clock_mhz * 1e6)}>;",
        "\t};",
        "",
        f"\t{UIO_NAME}@{system.control_base:x} {{",
        '\t\tcompatible = "generic-uio";',
        f"\t\treg = <{base} {size}>;",
        f"\t\tinterrupt-parent = <{_GIC[system.family]}>;",
        f"\t\tinterrupts = <0 {system.gic_interrupt} {LEVEL_HIGH}>;",
        "\t};",
        "",
        "\tvta-memory {",
        '\t\tcompatible = "ikwzm,u-dma-buf";',
        f'\t\tdevice-name = "{BUFFER_NAME}";',
        f"\t\tsize = <{memory_mib << 20:#010x}>;",
        "\t\tsync-mode = <1>;",
        "\t};",
        "};",
    ]
    return "\n".join(lines) + "\n"


def _cells(system: ProcessingSystem, value: int) -> str:
    """An address or size as cells: two words where the tree of the family has two."""
    return f"{value >> 32:#x} {value & 0xFFFFFFFF:#x}" if system.family == "zynqmp" else f"{value:#x}"


def _port(system: ProcessingSystem, cfg: VTAConfig) -> list[str]:
    """Widths of the ports, which Linux can set on a Zynq UltraScale+; on a Zynq-7000 ps7_setup does."""
    if system.family != "zynqmp":
        return []
    width = _FABRIC_WIDTH[cfg.axi_data_width]
    return [
        "\tvta-ports {",
        '\t\tcompatible = "xlnx,afi-fpga";',
        f"\t\tconfig-afi = <{_AFIFM2_RD} {width}>, <{_AFIFM2_WR} {width}>, <{_AFI_FS} 0x0>;",
        "\t};",
        "",
    ]
