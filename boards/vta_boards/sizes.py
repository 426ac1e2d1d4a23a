"""What ``vta synth`` measured for the presets, so that a person sees what fits without an hour of synthesis.

``make sizes`` measures again. A size counts only for the configuration it was measured with: by fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from vta_arch.config import VTAConfig
from vta_arch.files import write_text
from vta_arch.presets import load_preset, preset_names

from .parts import Part
from .synth import FAMILIES, Synthesis, Usage

SIZES = "sizes.json"


def recorded() -> dict[str, dict[str, Usage]]:
    """Totals by preset and family, of presets that are still what was measured."""
    text = (resources.files("vta_boards") / SIZES).read_text(encoding="utf-8")
    found: dict[str, dict[str, Usage]] = {}
    for name, entry in json.loads(text).items():
        if name in preset_names() and load_preset(name).fingerprint_hex == entry["fingerprint"]:
            found[name] = {family: Usage(**entry[family]) for family in FAMILIES if family in entry}
    return found


def fitting(part: Part) -> list[str]:
    """Presets whose recorded size the part has room for."""
    sizes = recorded()
    return [
        name
        for name in preset_names()
        if part.family in sizes.get(name, {}) and Synthesis(part.family, sizes[name][part.family], {}, None).fits(part)
    ]


def record(path: Path, cfg: VTAConfig, family: str, total: Usage) -> None:
    """Put one measurement into the file at ``path``."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entry: Mapping[str, Any] = values.get(cfg.name, {})
    if entry.get("fingerprint") != cfg.fingerprint_hex:
        entry = {"fingerprint": cfg.fingerprint_hex}
    usage = {kind: getattr(total, kind) for kind in ("lut", "ff", "dsp", "bram36", "sta_ns")}
    values[cfg.name] = {**entry, family: usage}
    write_text(path, json.dumps(dict(sorted(values.items())), indent=1) + "\n")
