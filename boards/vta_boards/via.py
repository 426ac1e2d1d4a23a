"""The ways from a build to its board."""

from __future__ import annotations

from enum import Enum


class Via(str, Enum):  # noqa: UP042 - boards have Python 3.10
    """How the bitstream gets to the board."""

    JTAG = "jtag"
    """openFPGALoader on the desk, over the board's cable."""
    SSH = "ssh"
    """The board's Linux, from the desk."""
    LOCAL = "local"
    """The board's Linux, on the board itself."""

    def __str__(self) -> str:
        return self.value
