"""What tuning found, kept for later compilations: tilings by layer shape, a file for each configuration.

The files are in ``tuned`` in the cache directory (see :mod:`vta_sim.build_cache`). Their names hold the configuration's
fingerprint and the versions of hardware and compiler: after a change of either they are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.errors import DataError
from vta_arch.files import write_text
from vta_arch.registers import HW_VERSION

from . import __version__

FORMAT = 1


class TuningBackend(StrEnum):
    """What tells how long a tiling takes."""

    RTL = "rtl"
    """The generated Verilog."""
    MODEL = "model"
    """The cycle model: faster, and within a few percent."""


@dataclass(frozen=True)
class Tuned:
    """The best tiling of a layer shape: its sizes, and the cycles that it took on ``backend``."""

    sizes: Mapping[str, int]
    cycles: int
    backend: str


def tuned_file(cfg: VTAConfig) -> Path:
    """The file of a configuration; it need not exist."""
    from vta_sim.build_cache import cache_directory

    return cache_directory() / "tuned" / f"{cfg.fingerprint_hex}-{HW_VERSION:08x}-{__version__}.json"


def load_tuned(cfg: VTAConfig) -> dict[str, Tuned]:
    """What is known of a configuration, by the text of a layer's shape. Raises DataError for a damaged file."""
    path = tuned_file(cfg)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"its format is {values['format']!r}, not {FORMAT}")
        return {key: _checked(value) for key, value in values["tilings"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, and tune again") from None


def _checked(value: Any) -> Tuned:
    sizes, cycles, backend = value["sizes"], value["cycles"], value["backend"]
    if not all(isinstance(name, str) and type(size) is int for name, size in sizes.items()):
        raise ValueError("a tiling's sizes are no whole numbers")
    if type(cycles) is not int or not isinstance(backend, str):
        raise ValueError("a tiling's cycles are no whole number")
    return Tuned(dict(sizes), cycles, backend)


def save_tuned(cfg: VTAConfig, found: Mapping[str, Tuned]) -> Path:
    """Add to what is known of a configuration; the file. Raises DataError."""
    path = tuned_file(cfg)
    known = load_tuned(cfg) | dict(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    tilings = {key: {"sizes": dict(t.sizes), "cycles": t.cycles, "backend": t.backend} for key, t in known.items()}
    write_text(path, json.dumps({"format": FORMAT, "config": cfg.name, "tilings": tilings}, indent=1) + "\n")
    return path
