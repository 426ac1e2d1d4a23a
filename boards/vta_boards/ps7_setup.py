"""What a bitstream for a Zynq-7000 needs of the processing system: its clock, its reset and the width of its port.

Vivado's boot images set these up for the design that they were made with. When the fabric gets another design under a
running Linux, or one from openXC7, which makes no boot image, they are set here. Addresses and fields are UG585's.

``python3 -m vta_boards.ps7_setup --clock-mhz 100 --port-bits 64`` does it on the board, as root.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vta_arch.errors import BoardError, VTAError

from .devices.mapped import MappedRegisters

SLCR_BASE = 0xF800_0000
AFI_HP0_BASE = 0xF800_8000
WINDOW_BYTES = 0x1000

SLCR_UNLOCK, UNLOCK_KEY = 0x008, 0xDF0D
IO_PLL_CTRL = 0x108
"""Multiplier in bits 18:12, bypass in bit 4."""
FPGA0_CLK_CTRL = 0x170
"""Source in bits 5:4 (0: IO PLL), divisors in bits 13:8 and 25:20."""
FPGA0_THR_CNT = 0x178
"""Bit 0 stops the clock, as Linux does when nobody claims it."""
FPGA_RST_CTRL = 0x240
"""A set bit holds the fabric's reset of that number."""
LVL_SHFTR_EN = 0x900
"""0xF: signals cross between processing system and fabric, both ways."""
AFI_RDCHAN_CTRL, AFI_WRCHAN_CTRL = 0x00, 0x14
"""Bit 0: the port has 32 bits instead of 64."""

_DIVISORS = range(1, 64)
_TOLERANCE = 1e-4
"""Of a crystal's rounded frequency, so that 33.33 MHz times 30 divided by 10 is 100 MHz."""


class Window(Protocol):
    """Registers by byte offset from a base."""

    def read32(self, offset: int) -> int: ...

    def write32(self, offset: int, value: int) -> None: ...


@dataclass(frozen=True)
class Clock:
    """What FCLK0 was set to."""

    mhz: float
    divisors: tuple[int, int]


def set_up(slcr: Window, afi: Window, *, clock_mhz: float, port_bits: int, crystal_mhz: float) -> Clock:
    """Set FCLK0, release its reset, and give S_AXI_HP0 its width.

    Args:
        slcr: the system-level control registers.
        afi: the registers of the FIFO behind S_AXI_HP0.
        clock_mhz: the clock that the bitstream was built for; the fastest one not above it is set.
        port_bits: data width of the accelerator's memory port, 32 or 64.
        crystal_mhz: PS_CLK of the board.

    Returns the clock. Raises BoardError when there is no such clock or width. The fabric is held in reset meanwhile,
    so that it never sees a clock that is too fast or a port of the wrong width. The registers stay unlocked, as Linux
    keeps them: locked, its own writes to clocks would be ignored.
    """
    if port_bits not in (32, 64):
        raise BoardError(f"S_AXI_HP0 with {port_bits} bits: it has 32 or 64")
    clock = choose_clock(_pll_mhz(slcr.read32(IO_PLL_CTRL), crystal_mhz), clock_mhz)
    slcr.write32(SLCR_UNLOCK, UNLOCK_KEY)
    slcr.write32(FPGA_RST_CTRL, slcr.read32(FPGA_RST_CTRL) | 1)
    slcr.write32(FPGA0_CLK_CTRL, clock.divisors[0] << 8 | clock.divisors[1] << 20)
    slcr.write32(FPGA0_THR_CNT, 0)
    slcr.write32(LVL_SHFTR_EN, 0xF)
    for register in (AFI_RDCHAN_CTRL, AFI_WRCHAN_CTRL):
        afi.write32(register, afi.read32(register) & ~1 | (port_bits == 32))
    slcr.write32(FPGA_RST_CTRL, slcr.read32(FPGA_RST_CTRL) & ~1)
    return clock


def choose_clock(pll_mhz: float, wanted_mhz: float) -> Clock:
    """The fastest clock not above the wanted one. Raises BoardError when the divisors cannot reach it."""
    best = max(
        (
            Clock(pll_mhz / (first * second), (first, second))
            for first in _DIVISORS
            for second in _DIVISORS
            if pll_mhz / (first * second) <= wanted_mhz * (1 + _TOLERANCE)
        ),
        key=lambda clock: (clock.mhz, -clock.divisors[1]),
        default=None,
    )
    if wanted_mhz <= 0 or best is None:
        low = pll_mhz / _DIVISORS[-1] ** 2
        raise BoardError(f"FCLK0 of {wanted_mhz:g} MHz: from a PLL of {pll_mhz:g} MHz it has {low:.2f} MHz or more")
    return best


def _pll_mhz(control: int, crystal_mhz: float) -> float:
    if control & 1 << 4:
        return crystal_mhz
    return crystal_mhz * (control >> 12 & 0x7F)


def main(arguments: list[str] | None = None, *, root: Path = Path("/")) -> int:
    """Do it over /dev/mem; 0, or 1 after an error in one line."""
    parser = argparse.ArgumentParser(prog="python3 -m vta_boards.ps7_setup", description=set_up.__doc__)
    parser.add_argument("--clock-mhz", type=float, required=True, help="clock that the bitstream was built for")
    parser.add_argument("--port-bits", type=int, default=64, help="width of the accelerator's memory port")
    parser.add_argument("--crystal-mhz", type=float, required=True, help="PS_CLK of the board")
    chosen = parser.parse_args(arguments)
    try:
        with contextlib.ExitStack() as stack:
            slcr, afi = (
                stack.enter_context(
                    contextlib.closing(MappedRegisters(root / "dev" / "mem", WINDOW_BYTES, offset=base))
                )
                for base in (SLCR_BASE, AFI_HP0_BASE)
            )
            clock = set_up(
                slcr, afi, clock_mhz=chosen.clock_mhz, port_bits=chosen.port_bits, crystal_mhz=chosen.crystal_mhz
            )
    except VTAError as error:
        print(f"vta: error: {error}", file=sys.stderr)
        return 1
    print(f"FCLK0 {clock.mhz:.3f} MHz, S_AXI_HP0 {chosen.port_bits} bits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
