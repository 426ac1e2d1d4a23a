"""The boards: device, processing system, memory port, address map and defaults, each fact once.

Standard library only, because a board's own Python reads it too. Sources: the vendors' data sheets and board files;
address maps from UG585 (Zynq-7000) and UG1085 (Zynq UltraScale+).
"""

from __future__ import annotations

from dataclasses import dataclass

from vta_arch.errors import BoardError

from .parts import XC7Z020, XCK26, XCZU3EG, XCZU7EV, Part


@dataclass(frozen=True)
class ProcessingSystem:
    """The processors beside the logic of a Zynq family, as Vivado's block design and Linux see them."""

    family: str
    """``zynq7`` or ``zynqmp``."""
    ip: str
    """Vivado's IP, vendor:library:name."""
    cell: str
    """Name of its cell in the block design."""
    control_port: str
    """Its AXI manager that writes the accelerator's registers."""
    control_clock: str
    """The clock pin of that port."""
    memory_port: str
    """Its AXI subordinate through which the accelerator reaches memory; not coherent with the caches."""
    memory_clock: str
    memory_widths: tuple[int, ...]
    """Data widths in bits that the memory port can have."""
    clock: str
    """Output pin of the fabric's clock."""
    reset: str
    """Output pin of the fabric's reset, active low."""
    interrupt: str
    """Input pin of interrupts from the fabric."""
    control_base: int
    """Byte address of the accelerator's registers."""
    gic_interrupt: int
    """Number of the first fabric interrupt among the GIC's shared ones, as a device tree counts them."""
    memory_segments: tuple[str, ...]
    """Vivado's names of the memory port's segments of DRAM, the one below 2 or 4 GiB first."""
    low_memory_mib: int
    """What the first of these segments holds."""


CONTROL_SIZE = 0x1_0000
"""Bytes of the address map that belong to the registers: 64 KiB, of which the first 4 KiB are used."""

ZYNQ7 = ProcessingSystem(
    family="zynq7",
    ip="xilinx.com:ip:processing_system7",
    cell="ps",
    control_port="M_AXI_GP0",
    control_clock="M_AXI_GP0_ACLK",
    memory_port="S_AXI_HP0",
    memory_clock="S_AXI_HP0_ACLK",
    memory_widths=(32, 64),
    clock="FCLK_CLK0",
    reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    control_base=0x43C0_0000,
    gic_interrupt=29,
    memory_segments=("S_AXI_HP0/HP0_DDR_LOWOCM",),
    low_memory_mib=1024,
)
ZYNQMP = ProcessingSystem(
    family="zynqmp",
    ip="xilinx.com:ip:zynq_ultra_ps_e",
    cell="ps",
    control_port="M_AXI_HPM0_FPD",
    control_clock="maxihpm0_fpd_aclk",
    memory_port="S_AXI_HP0_FPD",
    memory_clock="saxihp0_fpd_aclk",
    memory_widths=(32, 64, 128),
    clock="pl_clk0",
    reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    control_base=0xA000_0000,
    gic_interrupt=89,
    memory_segments=("SAXIGP2/HP0_DDR_LOW", "SAXIGP2/HP0_DDR_HIGH"),
    low_memory_mib=2048,
)


@dataclass(frozen=True)
class Board:
    """A board. ``device`` is the full part number; ``platform`` names the Amaranth platform as ``module:class``."""

    key: str
    """Its name on the command line."""
    name: str
    part: Part
    device: str
    system: ProcessingSystem
    board_part: str
    """Pattern of its Vivado board part; the newest that is installed is taken."""
    board_files: str
    """Where its Vivado board files come from, for a person who lacks them."""
    platform: str
    preset: str
    """Configuration that is built when none is named."""
    memory_mib: int
    """DRAM of the processors."""
    carrier_connector: str = ""
    carrier_part: str = ""
    """A module's connector and the pattern of its carrier's board part, as Vivado connects the two; '' without."""
    cable: str = "digilent"
    """openFPGALoader's name of the JTAG cable that the board has or, where it has none, of a usual one."""
    crystal_mhz: float = 50.0
    """Clock that the processing system's PLLs are fed with; needed of Zynq-7000 boards."""


_DIGILENT = "https://github.com/Digilent/vivado-boards"
_AVNET = "https://github.com/Avnet/bdf"
_ALL = (
    Board(
        "pynq-z1",
        "PYNQ-Z1",
        XC7Z020,
        "xc7z020clg400-1",
        ZYNQ7,
        "www.digilentinc.com:pynq-z1:part0:*",
        "https://github.com/cathalmccabe/pynq-z1_board_files",
        "vta_boards.platforms:PynqZ1Platform",
        "pynq-z1",
        512,
    ),
    Board(
        "pynq-z2",
        "PYNQ-Z2",
        XC7Z020,
        "xc7z020clg400-1",
        ZYNQ7,
        "tul.com.tw:pynq-z2:part0:*",
        "https://www.tulembedded.com/FPGA/ProductsPYNQ-Z2.html",
        "vta_boards.platforms:PynqZ2Platform",
        "pynq-z2",
        512,
    ),
    Board(
        "arty-z7-20",
        "Arty Z7-20",
        XC7Z020,
        "xc7z020clg400-1",
        ZYNQ7,
        "digilentinc.com:arty-z7-20:part0:*",
        _DIGILENT,
        "amaranth_boards.arty_z7:ArtyZ720Platform",
        "pynq-z1",
        512,
    ),
    Board(
        "zybo-z7-20",
        "Zybo Z7-20",
        XC7Z020,
        "xc7z020clg400-1",
        ZYNQ7,
        "digilentinc.com:zybo-z7-20:part0:*",
        _DIGILENT,
        "vta_boards.platforms:ZyboZ720Platform",
        "pynq-z1",
        1024,
        crystal_mhz=33.333333,
    ),
    Board(
        "microzed",
        "MicroZed",
        XC7Z020,
        "xc7z020clg400-1",
        ZYNQ7,
        "avnet.com:microzed_7020:part0:*",
        _AVNET,
        "amaranth_boards.microzed_z020:MicroZedZ020Platform",
        "pynq-z1",
        1024,
        cable="digilent_hs3",
        crystal_mhz=33.333333,
    ),
    Board(
        "ultra96-v2",
        "Ultra96-V2",
        XCZU3EG,
        "xczu3eg-sbva484-1-i",
        ZYNQMP,
        "avnet.com:ultra96v2:part0:*",
        _AVNET,
        "vta_boards.platforms:Ultra96V2Platform",
        "ultra96",
        2048,
        cable="ft4232",
    ),
    Board(
        "zcu104",
        "ZCU104",
        XCZU7EV,
        "xczu7ev-ffvc1156-2-e",
        ZYNQMP,
        "xilinx.com:zcu104:part0:*",
        "Vivado itself",
        "vta_boards.platforms:Zcu104Platform",
        "zcu104",
        2048,
        cable="ft4232",
    ),
    Board(
        "kv260",
        "KV260",
        XCK26,
        "xck26-sfvc784-2LV-c",
        ZYNQMP,
        "xilinx.com:kv260_som:part0:*",
        "Vivado itself",
        "vta_boards.platforms:Kv260Platform",
        "kv260",
        4096,
        carrier_connector="som240_1_connector",
        carrier_part="xilinx.com:kv260_carrier:som240_1_connector:*",
        cable="ft4232",
    ),
)
BOARDS: dict[str, Board] = {board.key: board for board in _ALL}
"""All boards by key."""


def find_board(key: str) -> Board:
    """The board of that key. Raises BoardError naming the ones that are known."""
    if key not in BOARDS:
        raise BoardError(f"board {key!r} is unknown; known boards: {', '.join(BOARDS)}")
    return BOARDS[key]
