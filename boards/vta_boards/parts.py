"""What the devices on the supported boards hold, from the vendor's data sheets (DS190, DS891, DS987)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A device: its family as Yosys names it, and its totals. ``bram36`` counts blocks of 36 Kbit."""

    name: str
    family: str
    lut: int
    ff: int
    dsp: int
    bram36: int


XC7Z020 = Part("xc7z020", "xc7", lut=53_200, ff=106_400, dsp=220, bram36=140)
XCZU3EG = Part("xczu3eg", "xcup", lut=70_560, ff=141_120, dsp=360, bram36=216)
XCZU7EV = Part("xczu7ev", "xcup", lut=230_400, ff=460_800, dsp=1_728, bram36=312)
XCK26 = Part("xck26", "xcup", lut=117_120, ff=234_240, dsp=1_248, bram36=144)

DEFAULT_PART = XC7Z020
"""What a configuration without a board is compared with."""
