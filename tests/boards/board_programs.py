"""A small network compiled for three configurations, with inputs and what the integer reference makes of them.

Compiled on the spot where onnx can be imported. Where it cannot, as under an emulated Python, they are read from the
folder that VTA_TEST_PROGRAMS names, which ``python board_programs.py FOLDER`` has filled elsewhere.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import numpy as np
from vta_arch.program import Program

CONFIGS = ("tiny", "pynq-z1", "int4")
IMAGES = 3


def images() -> dict[str, np.ndarray]:
    """Seeded inputs."""
    return {"x": np.random.default_rng(IMAGES).normal(0, 4, (IMAGES, 3, 9, 9)).astype(np.float32)}


@functools.cache
def program_of(name: str) -> Program:
    """The network for a configuration."""
    folder = os.environ.get("VTA_TEST_PROGRAMS")
    if folder is not None:
        return Program.load(Path(folder) / f"{name}.vta")
    from qdq_models import residual_network
    from vta_arch.presets import load_preset
    from vta_sw.compiler import compile

    cfg = load_preset(name)
    return compile(residual_network(cfg, 8), cfg, batch=2, fuse=False)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sw"))
    for each in CONFIGS:
        program_of(each).save(Path(sys.argv[1]) / f"{each}.vta")
