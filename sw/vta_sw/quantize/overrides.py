"""Choices for single layers, by name or pattern, from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vta_arch.errors import ConfigError

from ..quantize_choices import CalibrateMode, Rounding

BITS = (2, 4, 8)
"""Widths of the integer types that ONNX has."""
_TYPES: dict[str, tuple[type, ...]] = {
    "weight_bits": (int,),
    "activation_bits": (int,),
    "keep_float": (bool,),
    "calibrate_mode": (str,),
    "percentile": (int, float),
    "global_scale": (int, float),
    "rounding": (str,),
}
_CHOICES = {
    "calibrate_mode": tuple(CalibrateMode),
    "rounding": tuple(Rounding),
}


@dataclass(frozen=True)
class LayerOverride:
    """What is said of one layer; None: nothing. Activation settings are those of the layer's output."""

    weight_bits: int | None = None
    activation_bits: int | None = None
    keep_float: bool | None = None
    calibrate_mode: str | None = None
    percentile: float | None = None
    global_scale: float | None = None
    rounding: str | None = None


@dataclass(frozen=True)
class Overrides:
    """Patterns of node names with what is said of them. Where several match, a later one prevails."""

    entries: tuple[tuple[str, LayerOverride], ...] = ()

    def of(self, name: str) -> LayerOverride:
        """What is said of the node ``name``."""
        found: dict[str, Any] = {}
        for pattern, entry in self.entries:
            if fnmatchcase(name, pattern):
                found |= {
                    item.name: value for item in fields(entry) if (value := getattr(entry, item.name)) is not None
                }
        return LayerOverride(**found)

    def rounds(self, how: str) -> bool:
        """Whether any layer is to be rounded like that."""
        return any(entry.rounding == how for _, entry in self.entries)

    def require_used(self, names: Iterable[str]) -> None:
        """Raises ConfigError for a pattern that matches none of ``names``."""
        known = list(names)
        for pattern, _ in self.entries:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ConfigError(f"override of {pattern!r}: no node of the network has this name")


NO_OVERRIDES = Overrides()


def load_overrides(path: Path) -> Overrides:
    """Read a file of tables ``["pattern"]`` with keys of :class:`LayerOverride`. Raises ConfigError in one line."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"overrides {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"overrides {path}: not TOML: {error}") from None
    return Overrides(
        tuple((pattern, _entry(f"overrides {path}: {pattern!r}", value)) for pattern, value in data.items())
    )


def _entry(where: str, value: object) -> LayerOverride:
    if not isinstance(value, Mapping):
        raise ConfigError(f'{where} is no table; write ["node name or pattern"] and its keys below')
    for key, item in value.items():
        if key not in _TYPES:
            raise ConfigError(f"{where}: key {key!r} is unknown; known keys: {', '.join(_TYPES)}")
        if not isinstance(item, _TYPES[key]) or (isinstance(item, bool) and bool not in _TYPES[key]):
            raise ConfigError(f"{where}: {key} = {item!r} is not of type {_TYPES[key][0].__name__}")
        if key.endswith("_bits") and item not in BITS:
            raise ConfigError(f"{where}: {key} = {item}; give {', '.join(map(str, BITS))}")
        if key in _CHOICES and item not in _CHOICES[key]:
            raise ConfigError(f"{where}: {key} = {item!r}; give {', '.join(_CHOICES[key])}")
        if key in ("percentile", "global_scale") and isinstance(item, int | float):
            check_range(f"{where}: {key}", item)
    return LayerOverride(**value)


_LEAST_SCALE, _MOST_SCALE = 1e-30, 1e30
"""Beyond these the products of scales leave float32."""


def check_range(what: str, value: float) -> None:
    """Raises ConfigError for a percentile that is none, and for a global scale that no activation has."""
    if what.endswith("percentile") and not 0 < value <= 100:
        raise ConfigError(f"{what} {value:g}: give more than 0 and at most 100")
    if not _LEAST_SCALE <= value <= _MOST_SCALE:
        raise ConfigError(f"{what} {value:g}: give a positive number, from {_LEAST_SCALE:g} to {_MOST_SCALE:g}")
