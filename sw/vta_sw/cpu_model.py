"""Seconds that a node takes on the host's CPU, and what conversions and launches cost there.

A node costs what its multiply-accumulates or its bytes take, whichever is longer, and a fixed time. Rates are those of
all cores together. The defaults are estimates from the cores' data sheets and usual kernels; ``vta profile-cpu``
measures the machine that it runs on.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vta_arch.errors import DataError
from vta_arch.files import write_text

from .graph.view import GraphView, attributes

_WIDTHS = {"float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "float64": 8, "int64": 8, "uint64": 8}
_WIDTHS |= dict.fromkeys(("int8", "uint8", "int4", "uint4", "int2", "uint2", "bool"), 1)
_MATRIX_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INTEGER_OPS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm")
FREE_OPS = ("Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that move no data."""


@dataclass(frozen=True, kw_only=True)
class CpuProfile:
    """Rates of a host. Every number is above 0."""

    name: str
    float_macs: float
    """Float multiply-accumulates a second, in convolutions and matrix products."""
    int8_macs: float
    """The same of 8-bit integers."""
    bytes_per_second: float
    """Bytes that element-wise operators read and write."""
    node_seconds: float
    """What every node takes besides."""
    tile_bytes_per_second: float
    """Bytes of small pieces that numpy moves: of a tensor into the accelerator's layout or back, or while it packs."""
    transfer_seconds: float
    """What every such conversion takes besides."""
    launch_seconds: float
    """Registers, and the wait for the interrupt, of one launch."""


PROFILES: dict[str, CpuProfile] = {
    profile.name: profile
    for profile in (
        CpuProfile(
            name="cortex-a9",  # 2 cores at 650 MHz, 64-bit NEON
            float_macs=0.8e9,
            int8_macs=1.0e9,
            bytes_per_second=0.4e9,
            node_seconds=30e-6,
            tile_bytes_per_second=100e6,
            transfer_seconds=60e-6,
            launch_seconds=60e-6,
        ),
        CpuProfile(
            name="cortex-a53",  # 4 cores at 1.2 GHz, 128-bit NEON
            float_macs=6e9,
            int8_macs=8e9,
            bytes_per_second=1.5e9,
            node_seconds=15e-6,
            tile_bytes_per_second=200e6,
            transfer_seconds=30e-6,
            launch_seconds=30e-6,
        ),
    )
}
DEFAULT_PROFILE = "cortex-a9"
"""Profile of a configuration that names no board."""
BOARD_PROFILES = {"PYNQ-Z1": "cortex-a9", "PYNQ-Z2": "cortex-a9"} | dict.fromkeys(
    ("Ultra96-V2", "ZCU104", "KV260"), "cortex-a53"
)
"""Board, as a configuration names it -> the profile of its processor."""


def profile_of(board: str) -> CpuProfile:
    """The profile of a board's processor; the default for an unknown board or none."""
    return PROFILES[BOARD_PROFILES.get(board, DEFAULT_PROFILE)]


def load_profile(name: str) -> CpuProfile:
    """A profile by name, or from a TOML or JSON file. Raises DataError for one that is unknown or damaged."""
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if not path.is_file():
        raise DataError(f"CPU profile {name!r} is neither a file nor one of {', '.join(PROFILES)}")
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no CPU profile: {error}") from None
    return _checked(values, path)


def _checked(values: Any, path: Path) -> CpuProfile:
    names = {item.name for item in fields(CpuProfile)}
    if not isinstance(values, Mapping) or set(values) != names:
        raise DataError(f"{path}: no CPU profile: it must have exactly the keys {', '.join(sorted(names))}")
    for name, value in values.items():
        good = isinstance(value, str) if name == "name" else isinstance(value, int | float) and 0 < value < math.inf
        if not good or isinstance(value, bool):
            raise DataError(f"{path}: {name} = {value!r}: must be {'a text' if name == 'name' else 'a number above 0'}")
    return CpuProfile(**values)


def save_profile(profile: CpuProfile, path: Path) -> None:
    """Write a profile as JSON (suffix .json) or TOML. Raises DataError."""
    if path.suffix == ".json":
        write_text(path, json.dumps(asdict(profile), indent=2) + "\n")
        return
    lines = [f"{key} = {json.dumps(value)}" for key, value in asdict(profile).items()]
    write_text(path, "\n".join(lines) + "\n")


class CpuCosts:
    """Seconds of each node of a graph on one processor."""

    def __init__(self, view: GraphView, profile: CpuProfile) -> None:
        self._view, self.profile = view, profile
        self._constant: set[str] = set(view.initializers)
        for node in view.nodes:  # what depends on constants only is computed once, when the session is made
            if node.op_type == "Constant" or (node.input and all(not n or n in self._constant for n in node.input)):
                self._constant |= set(node.output)

    def node(self, index: int) -> float:
        """Seconds of a node, 0 for one that depends on constants only."""
        node, profile = self._view.nodes[index], self.profile
        if all(name in self._constant for name in node.output):
            return 0.0
        if node.op_type in FREE_OPS:
            return profile.node_seconds
        rate = profile.int8_macs if node.op_type in _INTEGER_OPS else profile.float_macs
        moved = sum(self._bytes(name) for name in (*node.input, *node.output)) / profile.bytes_per_second
        return profile.node_seconds + max(self._macs(index) / rate, moved)

    def conversion(self, name: str) -> float:
        """Seconds from a tensor in host memory to tiles, or back."""
        return self.profile.transfer_seconds + self._bytes(name) / self.profile.tile_bytes_per_second

    def _bytes(self, name: str) -> int:
        shape = self._view.shapes.get(name)
        return 0 if shape is None else math.prod(shape) * _WIDTHS.get(self._view.types.get(name, ""), 4)

    def _macs(self, index: int) -> int:
        """Multiply-accumulates of a node whose shapes are known, else 0."""
        node, shapes = self._view.nodes[index], self._view.shapes
        if node.op_type not in (*_MATRIX_OPS, *_INTEGER_OPS) or len(node.input) < 2:
            return 0
        weight = 3 if node.op_type.startswith("QLinear") else 1
        output, factor = shapes.get(node.output[0]), shapes.get(node.input[weight])
        source = shapes.get(node.input[0])
        if output is None or factor is None or source is None:
            return 0
        if node.op_type == "ConvTranspose":
            return math.prod(source) * math.prod(factor[1:])
        if "Conv" in node.op_type:
            return math.prod(output) * math.prod(factor[1:])
        inner = source[0 if attributes(node).get("transA", 0) else -1] if source else 1
        return math.prod(output) * inner
