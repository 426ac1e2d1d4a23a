"""Measures presets with ``vta synth`` into boards/vta_boards/sizes.json, which ``vta board list`` reads.

Usage: python tools/measure_sizes.py [PRESET...]    (default: those whose configuration has changed; minutes each)
"""

from __future__ import annotations

import sys
from pathlib import Path

from vta_arch.presets import load_preset, preset_names
from vta_boards.sizes import SIZES, record, recorded
from vta_boards.synth import part_of, synthesize
from vta_sim.build_cache import cache_directory

PATH = Path(__file__).resolve().parents[1] / "boards" / "vta_boards" / SIZES


def main(names: list[str]) -> None:
    """Measure ``names``, for the family of each one's board."""
    for name in names or [name for name in preset_names() if name not in recorded()]:
        cfg = load_preset(name)
        family = part_of(cfg).family
        total = synthesize(cfg, family, cache=cache_directory()).total
        record(PATH, cfg, family, total)
        print(f"{name} {family}: {total.lut:,} LUT, {total.dsp} DSP, {total.bram36:g} BRAM36", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
