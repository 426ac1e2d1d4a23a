"""The boards as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from vta_arch.presets import load_preset

from .board import BOARDS
from .sizes import fitting, recorded


@dataclass(frozen=True)
class BoardRow:
    """One board: its device's totals, its memory, and the presets that fit by :mod:`vta_boards.sizes`."""

    board: str
    name: str
    device: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    memory_mib: int
    memory_port: str
    memory_bits: int
    """The widest that the port can be."""
    preset: str
    """Configuration that is built when none is named."""
    clock_mhz: float
    fits: list[str] | None
    """Presets that fit; None where none was measured for the family of the device."""


def board_rows() -> list[BoardRow]:
    """All boards. A preset that fits the device but wants a wider port than the board has is left out."""
    rows = []
    for board in BOARDS.values():
        part, system = board.part, board.system
        fits = None
        if any(part.family in sizes for sizes in recorded().values()):
            fits = [name for name in fitting(part) if load_preset(name).axi_data_width in system.memory_widths]
        rows.append(
            BoardRow(
                board.key,
                board.name,
                board.device,
                part.lut,
                part.ff,
                part.dsp,
                part.bram36,
                board.memory_mib,
                system.memory_port,
                max(system.memory_widths),
                board.preset,
                load_preset(board.preset).clock_mhz,
                fits,
            )
        )
    return rows
