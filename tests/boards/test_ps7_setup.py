"""Clock, reset and port width of a Zynq-7000, over recorded registers and over a file that stands for /dev/mem."""

from __future__ import annotations

from pathlib import Path

import pytest
from vta_arch.errors import BoardError
from vta_boards import ps7_setup
from vta_boards.ps7_setup import choose_clock, main, set_up

PLL_20 = 20 << 12


class Recorded:
    """Registers that remember what was written, in a list that several share."""

    def __init__(self, name: str, log: list[tuple[str, int, int]], **values: int) -> None:
        self.name, self.log = name, log
        self.values = {int(offset, 16): value for offset, value in values.items()}

    def read32(self, offset: int) -> int:
        return self.values.get(offset, 0)

    def write32(self, offset: int, value: int) -> None:
        self.values[offset] = value
        self.log.append((self.name, offset, value))


def registers() -> tuple[list[tuple[str, int, int]], Recorded, Recorded]:
    log: list[tuple[str, int, int]] = []
    slcr = {"108": PLL_20, "170": 0x00101800, "178": 1, "240": 0xE}
    return log, Recorded("slcr", log, **slcr), Recorded("afi", log, **{"0": 0x10, "14": 0xF01})


def test_order_and_values() -> None:
    log, slcr, afi = registers()
    clock = set_up(slcr, afi, clock_mhz=100, port_bits=64, crystal_mhz=50)
    assert clock.mhz == pytest.approx(100)
    assert log == [
        ("slcr", 0x008, 0xDF0D),
        ("slcr", 0x240, 0xF),
        ("slcr", 0x170, 10 << 8 | 1 << 20),
        ("slcr", 0x178, 0),
        ("slcr", 0x900, 0xF),
        ("afi", 0x00, 0x10),
        ("afi", 0x14, 0xF00),
        ("slcr", 0x240, 0xE),
    ]


def test_narrow_port_sets_the_bit() -> None:
    log, slcr, afi = registers()
    set_up(slcr, afi, clock_mhz=100, port_bits=32, crystal_mhz=50)
    assert [entry for entry in log if entry[0] == "afi"] == [("afi", 0x00, 0x11), ("afi", 0x14, 0xF01)]


@pytest.mark.parametrize(
    ("pll", "wanted", "found"),
    [(1000, 100, 100), (1000, 142.9, 142.857), (999.99999, 125, 125), (1600, 150, 145.4545), (1000, 0.3, 0.29949)],
)
def test_clock_is_the_fastest_not_above(pll: float, wanted: float, found: float) -> None:
    clock = choose_clock(pll, wanted)
    assert clock.mhz == pytest.approx(found, rel=1e-3)
    assert clock.mhz == pll / (clock.divisors[0] * clock.divisors[1])
    assert all(0 < divisor < 64 for divisor in clock.divisors)


def test_bypassed_pll_is_the_crystal() -> None:
    _log, slcr, afi = registers()
    slcr.values[0x108] |= 1 << 4
    assert set_up(slcr, afi, clock_mhz=100, port_bits=64, crystal_mhz=50).mhz == 50


def test_refusals_write_nothing() -> None:
    log, slcr, afi = registers()
    with pytest.raises(BoardError, match="it has 32 or 64"):
        set_up(slcr, afi, clock_mhz=100, port_bits=128, crystal_mhz=50)
    for wanted in (0.01, 0, -5):
        with pytest.raises(BoardError, match="MHz or more"):
            set_up(slcr, afi, clock_mhz=wanted, port_bits=64, crystal_mhz=50)
    assert log == []


def test_command_over_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = tmp_path / "dev" / "mem"
    memory.parent.mkdir()
    with memory.open("wb") as file:  # sparse: only the two windows take room
        file.seek(ps7_setup.SLCR_BASE + ps7_setup.IO_PLL_CTRL)
        file.write(PLL_20.to_bytes(4, "little"))
        file.truncate(ps7_setup.AFI_HP0_BASE + ps7_setup.WINDOW_BYTES)
    options = ["--clock-mhz", "125", "--port-bits", "32", "--crystal-mhz", "50"]
    assert main(options, root=tmp_path) == 0
    assert capsys.readouterr().out == "FCLK0 125.000 MHz, S_AXI_HP0 32 bits\n"
    with memory.open("rb") as file:
        file.seek(ps7_setup.SLCR_BASE + ps7_setup.FPGA0_CLK_CTRL)
        assert int.from_bytes(file.read(4), "little") == 8 << 8 | 1 << 20
        file.seek(ps7_setup.AFI_HP0_BASE + ps7_setup.AFI_WRCHAN_CTRL)
        assert int.from_bytes(file.read(4), "little") == 1
    memory.unlink()
    assert main(options, root=tmp_path) == 1
    assert "no such device" in capsys.readouterr().err
