"""``vta exec`` and ``vta disasm`` on a raw stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vta_arch.assembly import assemble
from vta_arch.encoding import encode_stream, encode_uops
from vta_arch.isa import Memory, memory_elem_bytes
from vta_arch.presets import load_preset

STREAM = """
LOAD UOP y_size=1 x_size=1 x_stride=1
LOAD ACC dram_base=0x40 y_size=1 x_size=2 x_stride=2
ALU ADD uop_end=1 iter_out=1 iter_in=2 dst_factor_in=1 src_factor_in=1 use_imm imm=-3 push_next
STORE OUT dram_base=0x400 y_size=1 x_size=2 x_stride=2 pop_prev push_prev
LOAD UOP pop_next
FINISH
""".strip().splitlines()
CONFIGS = ["classic", "tiny", "int4"]


@pytest.fixture(params=CONFIGS)
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A stream that subtracts 3 from two accumulator vectors, with its manifest; returns the configuration."""
    cfg = load_preset(request.param)
    values = np.random.default_rng(1).integers(cfg.inp_min + 3, cfg.inp_max, (2, cfg.batch * cfg.block_out))
    per_byte = 8 // cfg.inp_width
    low = (values - 3 & (1 << cfg.inp_width) - 1).reshape(-1, per_byte)
    out = (low << (np.arange(per_byte) * cfg.inp_width)).sum(1).astype(np.uint8)
    (tmp_path / "i.bin").write_bytes(encode_stream(cfg, [assemble(cfg, line) for line in STREAM]))
    (tmp_path / "u.bin").write_bytes(encode_uops(cfg, [(0, 0, 0)]).tobytes())
    (tmp_path / "a.bin").write_bytes(values.astype("<i4").tobytes())
    (tmp_path / "o.bin").write_bytes(out.tobytes())
    acc, inp = (memory_elem_bytes(cfg, memory) for memory in (Memory.ACC, Memory.OUT))
    manifest = {
        "instructions": "i.bin",
        "memory": [{"address": 0, "file": "u.bin"}, {"address": hex(0x40 * acc), "file": "a.bin"}],
        "bases": {"out": 0x10000},
        "expect": [{"address": 0x10000 + 0x400 * inp, "file": "o.bin"}],
    }
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    return str(request.param)


def test_matching_stream(vta: Callable, stream: str, tmp_path: Path) -> None:
    outcome = vta("exec", "m.json", "--config", stream, "--json", "r.json")
    assert outcome.status == 0, outcome
    assert "expected bytes match" in outcome.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"]
    assert report["backend"] == "functional"


def test_difference_is_named(vta: Callable, stream: str, tmp_path: Path) -> None:
    expected = bytearray((tmp_path / "o.bin").read_bytes())
    expected[1] ^= 0x11
    expected[2] ^= 0x22
    (tmp_path / "o.bin").write_bytes(expected)
    outcome = vta("exec", "m.json", "--config", stream, "--json", "r.json")
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert f"expected {expected[1]:#04x}, found {expected[1] ^ 0x11:#04x}; 2 of" in outcome.err
    assert json.loads((tmp_path / "r.json").read_text())["differing_bytes"] == 2


def test_listing_of_raw_instructions(vta: Callable, stream: str) -> None:
    lines = vta("disasm", "i.bin", "--config", stream).out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == STREAM


def test_manifest_that_cannot_be_read(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert "is not JSON" in refused("exec", "bad.json")
    assert "missing.json" in refused("exec", "missing.json")
