"""Amaranth platforms of the boards that amaranth-boards does not have: device, clock, LEDs, buttons and switches.

Pins follow the vendors' master constraint files.
"""

from __future__ import annotations

from amaranth.build import Attrs, Clock, Connector, DiffPairs, Pins, Resource
from amaranth.vendor import XilinxPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, RGBLEDResource, SwitchResources

_LVCMOS33 = Attrs(IOSTANDARD="LVCMOS33")
_LVCMOS18 = Attrs(IOSTANDARD="LVCMOS18")


class _Pynq(XilinxPlatform):
    """What the PYNQ-Z1 and the PYNQ-Z2 have in common."""

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources = [  # noqa: RUF012 - Amaranth's platforms are class attributes
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), _LVCMOS33),
        *SwitchResources(pins="M20 M19", attrs=_LVCMOS33),
        *ButtonResources(pins="D19 D20 L20 L19", attrs=_LVCMOS33),
        *LEDResources(pins="R14 P14 N16 M14", attrs=_LVCMOS33),
        RGBLEDResource(0, r="N15", g="G17", b="L15", attrs=_LVCMOS33),
        RGBLEDResource(1, r="M15", g="L14", b="G14", attrs=_LVCMOS33),
    ]
    connectors: list[Connector] = []  # noqa: RUF012


class PynqZ1Platform(_Pynq):
    """Digilent's PYNQ-Z1."""


class PynqZ2Platform(_Pynq):
    """TUL's PYNQ-Z2."""


class ZyboZ720Platform(XilinxPlatform):
    """Digilent's Zybo Z7-20."""

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources = [  # noqa: RUF012
        Resource("clk125", 0, Pins("K17", dir="i"), Clock(125e6), _LVCMOS33),
        *SwitchResources(pins="G15 P15 W13 T16", attrs=_LVCMOS33),
        *ButtonResources(pins="K18 P16 K19 Y16", attrs=_LVCMOS33),
        *LEDResources(pins="M14 M15 G14 D18", attrs=_LVCMOS33),
        RGBLEDResource(0, r="Y11", g="T5", b="Y12", attrs=_LVCMOS33),
        RGBLEDResource(1, r="V16", g="F17", b="M17", attrs=_LVCMOS33),
    ]
    connectors: list[Connector] = []  # noqa: RUF012


class Ultra96V2Platform(XilinxPlatform):
    """Avnet's Ultra96-V2. Its logic has no clock of its own: the processing system gives it one."""

    device = "xczu3eg"
    package = "sbva484"
    speed = "1-i"
    resources = [*LEDResources(pins="A9 B9", attrs=_LVCMOS18)]  # noqa: RUF012
    connectors: list[Connector] = []  # noqa: RUF012


class Zcu104Platform(XilinxPlatform):
    """AMD's ZCU104."""

    device = "xczu7ev"
    package = "ffvc1156"
    speed = "2-e"
    default_clk = "clk125"
    resources = [  # noqa: RUF012
        Resource("clk125", 0, DiffPairs("F23", "E23", dir="i"), Clock(125e6), Attrs(IOSTANDARD="LVDS")),
        *SwitchResources(pins="E4 D4 F5 F4", attrs=_LVCMOS33),
        *ButtonResources(pins="B4 C4 B3 C3", attrs=_LVCMOS33),
        *LEDResources(pins="D5 D6 A5 B5", attrs=_LVCMOS33),
    ]
    connectors: list[Connector] = []  # noqa: RUF012


class Kv260Platform(XilinxPlatform):
    """AMD's Kria KV260: the K26 module on its starter kit's carrier. The processing system gives the clock."""

    device = "xck26"
    package = "sfvc784"
    speed = "2LV-c"
    resources = [Resource("fan", 0, Pins("A12", dir="o"), _LVCMOS33)]  # noqa: RUF012
    connectors: list[Connector] = []  # noqa: RUF012
