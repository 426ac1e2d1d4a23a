"""Places of tensors: what is alive together never overlaps, and memory is used again."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from qdq_models import residual_network
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_arch.program import CpuStep, Layer, Region, tensor_bytes
from vta_sw.compiler import compile
from vta_sw.lifetimes import find_lifetimes
from vta_sw.memory import Block, Lifetime, place


@pytest.mark.parametrize("seed", range(20))
def test_random_blocks_never_meet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = {}
    for number in range(int(rng.integers(1, 30))):
        first = int(rng.integers(0, 20))
        lifetime = Lifetime(first, first + int(rng.integers(0, 5)))
        blocks[f"t{number}"] = Block(int(rng.integers(1, 500)), int(rng.choice([1, 64, 256])), lifetime)
    offsets, end = place(blocks, 100)
    for name, block in blocks.items():
        assert offsets[name] >= 100
        assert offsets[name] % block.alignment == 0
        assert offsets[name] + block.size <= end
    for one, other in combinations(blocks, 2):
        apart = offsets[one] + blocks[one].size <= offsets[other] or offsets[other] + blocks[other].size <= offsets[one]
        assert apart or not blocks[one].lifetime.meets(blocks[other].lifetime)


def test_a_chain_needs_two_places() -> None:
    blocks = {f"t{number}": Block(64, 64, Lifetime(number, number + 1)) for number in range(10)}
    assert place(blocks, 0)[1] == 128


def test_lifetimes_reach_from_the_launch_to_the_last_reader() -> None:
    layers = [
        Layer("a", "conv", ("x",), "p", {}),
        Layer("b", "conv", ("p",), "q", {}),
        Layer("c", "add", ("q", "y"), "r", {}),
    ]
    steps = [CpuStep(b"", ("image",), ("x", "y")), Region(("a", "b", "c"), 0, 1), CpuStep(b"", ("p",), ("out",))]
    found = find_lifetimes(steps, layers, ["image"], ["out", "r"])
    assert found["x"] == Lifetime(0, 1)
    assert found["y"] == Lifetime(0, 3)
    assert found["p"] == Lifetime(1, 4)
    assert found["q"] == Lifetime(2, 3)
    assert found["r"] == Lifetime(3, 5)


@pytest.mark.parametrize("name", ["tiny", "pynq-z1", "int4"])
def test_a_network_uses_memory_again(name: str) -> None:
    cfg = load_preset(name)
    program = compile(residual_network(cfg, 2), cfg)
    constants = max(item.offset + len(item.data) for item in program.segments)
    tensors = [item for item in program.tensors.values() if item.inp_offset >= 0]
    assert program.arena_size - constants < sum(tensor_bytes(cfg, item, Memory.INP) for item in tensors)
