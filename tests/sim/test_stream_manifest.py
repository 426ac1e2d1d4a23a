"""Raw streams described by a JSON manifest, as other people's compilers make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vta_arch.encoding import encode_stream, finish, load, store
from vta_arch.errors import DataError
from vta_arch.isa import Memory
from vta_arch.presets import load_preset
from vta_sim.functional import FunctionalDevice
from vta_sim.random_streams import StreamCase, named_configs, random_stream
from vta_sim.stream_manifest import place_instructions, read_manifest, run_manifest

CFG = load_preset("tiny")


def write_case(folder: Path, case: StreamCase) -> Path:
    """The files and the manifest of a stream, expectations from the functional device."""
    _, outputs = case.run(FunctionalDevice(case.config))
    (folder / "insn.bin").write_bytes(case.instructions)
    values: dict[str, Any] = {"instructions": "insn.bin", "memory": [], "expect": []}
    for number, (address, data) in enumerate(case.memory):
        (folder / f"m{number}.bin").write_bytes(data)
        values["memory"].append({"address": address if number % 2 else hex(address), "file": f"m{number}.bin"})
    for number, ((address, _), data) in enumerate(zip(case.outputs, outputs, strict=True)):
        (folder / f"e{number}.bin").write_bytes(data.tobytes())
        values["expect"].append({"address": address, "file": f"e{number}.bin"})
    values["bases"] = {memory.name.lower(): hex(base) for memory, base in case.bases.items()}
    manifest = folder / "M.json"
    manifest.write_text(json.dumps(values))
    return manifest


@pytest.mark.parametrize("name", ["tiny", "int4", "int1", "wide-address", "x-tiny", "x-int1"])
def test_matches_and_reports_differences(tmp_path: Path, name: str) -> None:
    cfg = named_configs()[name]
    manifest = write_case(tmp_path, random_stream(cfg, np.random.default_rng(5)))
    report = run_manifest(manifest, FunctionalDevice(cfg))
    assert report.passed
    assert report.to_json()["differing_bytes"] == 0
    data = bytearray((tmp_path / "e0.bin").read_bytes())
    for at in (3, 7):
        data[at] ^= 0x55
    (tmp_path / "e0.bin").write_bytes(data)
    report = run_manifest(manifest, FunctionalDevice(cfg))
    address = json.loads(manifest.read_text())["expect"][0]["address"]
    assert not report.passed
    assert report.first is not None
    assert (report.first.address, report.differing) == (address + 3, 2)
    assert report.first.expected == report.first.found ^ 0x55
    assert f"{address + 3:#x}" in report.lines()[0]
    assert json.loads(json.dumps(report.to_json()))["first_address"] == address + 3


def minimal(folder: Path, **changes: Any) -> Path:
    """A manifest of one STORE of zeros, with entries replaced (None removes one)."""
    stream = [load(CFG, Memory.ACC, x_size=4, y_size=1, push_next=1), store(CFG, x_size=4, y_size=1, pop_prev=1)]
    (folder / "insn.bin").write_bytes(encode_stream(CFG, [*stream, finish(CFG)]))
    (folder / "zero.bin").write_bytes(bytes(16))
    (folder / "empty.bin").write_bytes(b"")
    (folder / "odd.bin").write_bytes(bytes(17))
    entry = {"address": 0x1000, "file": "zero.bin"}
    values = {"instructions": "insn.bin", "memory": [entry], "expect": [{"address": "0x2000", "file": "zero.bin"}]}
    values |= changes
    path = folder / "M.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return path


REGION = {"address": 0x1000, "file": "zero.bin"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no instructions": ({"instructions": None}, "'instructions' is missing"),
    "instructions is a number": ({"instructions": 3}, "expected a file name"),
    "missing file": ({"instructions": "none.bin"}, "there is no file"),
    "folder": ({"instructions": "."}, "is no file"),
    "odd length": ({"instructions": "odd.bin"}, "17 bytes: must be a positive multiple of 16"),
    "empty stream": ({"instructions": "empty.bin"}, "positive multiple"),
    "no memory": ({"memory": None}, "memory: expected a list"),
    "no expect": ({"expect": None}, "expect: expected a list"),
    "memory is a string": ({"memory": "x"}, "memory: expected a list"),
    "entry is a number": ({"memory": [1]}, r"memory\[0\]: expected"),
    "negative address": ({"memory": [{"address": -1, "file": "zero.bin"}]}, "expected a number or a hex string"),
    "boolean address": ({"memory": [{"address": True, "file": "zero.bin"}]}, "expected a number or a hex string"),
    "word address": ({"memory": [{"address": "here", "file": "zero.bin"}]}, "expected a number or a hex string"),
    "float address": ({"memory": [{"address": 4096.5, "file": "zero.bin"}]}, "expected a number or a hex string"),
    "overlap": ({"memory": [REGION, {"address": 0x100F, "file": "zero.bin"}]}, "overlaps"),
    "beyond": ({"memory": [{"address": "0xfffffff1", "file": "zero.bin"}]}, "beyond the 32-bit address space"),
    "far beyond": ({"memory": [{"address": 1 << 300, "file": "zero.bin"}]}, "beyond the 32-bit address space"),
    "expect beyond": ({"expect": [{"address": "100000000", "file": "zero.bin"}]}, "beyond the 32-bit address space"),
    "expect empty": ({"expect": [{"address": 0, "file": "empty.bin"}]}, "nothing to compare"),
    "bases is a list": ({"bases": []}, "bases: expected an object"),
    "unknown base": ({"bases": {"acc8": 0}}, "unknown memory 'acc8'"),
    "odd base": ({"bases": {"uop": 32}}, "multiple of 64"),
    "large base": ({"bases": {"uop": "0x100000000"}}, "32-bit address space"),
    "null in name": ({"memory": [{"address": 0, "file": "a\0b"}]}, "expected a file name"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_refuses(tmp_path: Path, case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        run_manifest(minimal(tmp_path, **changes), FunctionalDevice(CFG))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff\xfe", '{"instructions": 1' + "0" * 5000 + "}", "[" * 100_000])
def test_refuses_text_that_is_no_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "M.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        run_manifest(path, FunctionalDevice(CFG))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        run_manifest(tmp_path / "none.json", FunctionalDevice(CFG))


def test_default_bases_and_zero_memory(tmp_path: Path) -> None:
    report = run_manifest(minimal(tmp_path, expect=[{"address": 0, "file": "zero.bin"}]), FunctionalDevice(CFG))
    assert report.passed
    assert report.errors == ""


def test_deadlock_fails_even_when_memory_matches(tmp_path: Path) -> None:
    path = minimal(tmp_path)
    stuck = [store(CFG, x_size=1, y_size=1, pop_prev=1), finish(CFG)]
    (tmp_path / "insn.bin").write_bytes(encode_stream(CFG, stuck))
    report = run_manifest(path, FunctionalDevice(CFG))
    assert report.matched
    assert not report.passed
    assert "waiting: store" in report.errors


def test_instructions_stay_clear_of_all_regions(tmp_path: Path) -> None:
    taken = [{"address": 64 * k, "file": "zero.bin"} for k in range(40)]
    manifest = read_manifest(minimal(tmp_path, memory=taken), CFG)
    address = place_instructions(CFG, manifest)
    assert address % 64 == 0
    assert address >= 64 * 39 + 16
    assert not address < 0x2010 <= address + len(manifest.instructions)
