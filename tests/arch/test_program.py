"""The program container: round trip, determinism, and refusal of damaged or hostile files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vta_arch.encoding import encode_stream, finish
from vta_arch.errors import DataError, ProgramError
from vta_arch.packing import PackStep
from vta_arch.presets import load_preset
from vta_arch.program import CpuStep, Layer, Program, Region, Segment, Tensor

CONFIG = load_preset("tiny")
Manifest = dict[str, Any]


def sample() -> Program:
    stream = encode_stream(CONFIG, [finish(CONFIG)] * 4)
    tensors = {
        "x": Tensor("x", (1, 3, 2, 2), "float32"),
        "q": Tensor("q", (1, 3, 2, 2), "int8", -128, 127, 128, 128),
        "y": Tensor("y", (1, 3, 2, 2), "int8", -128, 127, 192, 192),
    }
    attributes = {
        "kernel": (1, 1),
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "pad_value": (0,),
        "low": (0,),
        "high": (9,),
    }
    layer = Layer("c", "conv", ("q",), "y", attributes, {"weight": "w", "bias": "b", "shift": "s"}, 0, 1, 0, 4, 36)
    arrays = {"w": np.ones((3, 3, 1, 1), np.int8), "b": np.zeros(3, np.int64), "s": np.zeros(3, np.int32)}
    return Program(
        config=CONFIG,
        batch=1,
        tensors=tensors,
        layers=(layer,),
        steps=(CpuStep(b"model", ("x",), ("q",), ("n",)), Region(("c",), 0, 2)),
        inputs=("x",),
        outputs=("y",),
        segments=(Segment("instructions", 0, stream), Segment("alone", 256, stream), Segment("uops", 64, b"\1\2\3\4")),
        arrays=arrays,
        arena_size=320,
        offload={"pool": "no such operator"},
    )


def packed_sample() -> Program:
    """The sample, whose layer reads 2 x 2 windows of its input."""
    program = sample()
    layer = replace(program.layers[0], inputs=("p",))
    return replace(
        program,
        tensors={**program.tensors, "p": Tensor("p", (1, 12, 2, 2), "int8", -128, 127, 256, 256)},
        layers=(layer,),
        steps=(program.steps[0], PackStep("q", "p", (2, 2), (1, 1), (1, 1), (1, 0), -3), program.steps[1]),
        arrays={**program.arrays, "w": np.ones((3, 12, 1, 1), np.int8)},
        arena_size=512,
        choices={"c": "2 x 2 window packed"},
    )


def rewrite(path: Path, change: Callable[[Manifest, dict[str, bytes]], None], *, rehash: bool = True) -> None:
    """Change members and manifest of a program file; with ``rehash`` as a forger would."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(manifest, members)
    if rehash:
        manifest["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in members.items():
            archive.writestr(name, data)


def test_round_trip_and_determinism(tmp_path: Path) -> None:
    program = sample()
    program.save(tmp_path / "a.vta")
    program.save(tmp_path / "b.vta")
    assert (tmp_path / "a.vta").read_bytes() == (tmp_path / "b.vta").read_bytes()
    found = Program.load(tmp_path / "a.vta")
    assert found.tensors == program.tensors
    assert (found.layers, found.steps, found.segments) == (program.layers, program.steps, program.segments)
    assert (found.config, found.arena_size, found.offload) == (program.config, 320, program.offload)
    assert all(np.array_equal(found.arrays[name], array) for name, array in program.arrays.items())
    assert [insn.opcode for insn in found.instructions()] == [3, 3, 3, 3]


def test_what_does_not_shrink_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "p.vta"
    noise = np.random.default_rng(1).integers(-128, 128, size=1 << 18, dtype=np.int8)
    few = np.random.default_rng(1).integers(-4, 5, size=1 << 18, dtype=np.int8)
    kinds = []
    for weights in (noise, few):
        replace(sample(), arrays=sample().arrays | {"v": weights}).save(path)
        with zipfile.ZipFile(path) as archive:
            kinds.append(archive.getinfo("reference.bin").compress_type)
        assert np.array_equal(Program.load(path).arrays["v"], weights)
    assert kinds == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def test_packing_is_kept(tmp_path: Path) -> None:
    program = packed_sample()
    program.save(tmp_path / "p.vta")
    found = Program.load(tmp_path / "p.vta")
    assert (found.steps, found.tensors, found.choices) == (program.steps, program.tensors, program.choices)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", "nowhere"),
        ("input", "x"),
        ("input", "p"),
        ("input", "y"),
        ("output", "y"),
        ("output", "nowhere"),
        ("window", [4, 1, 1]),
        ("window", [2, 0]),
        ("window", [1, 2]),
        ("window", "2x2"),
        ("strides", [0, 1]),
        ("strides", [1 << 16, 1 << 16]),
        ("dilations", [1 << 20, 1]),
        ("dilations", [1 << 16, 1 << 16]),
        ("before", [-1, 0]),
        ("before", [1 << 17, 0]),
        ("before", [1]),
        ("value", 128),
        ("value", 1 << 40),
        ("value", 0.5),
    ],
)
def test_wrong_packing_is_refused(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "p.vta"
    packed_sample().save(file)
    rewrite(file, _set(f"steps.1.{key}", value))
    with pytest.raises(ProgramError, match=r"packing|step") as error:
        Program.load(file)
    assert "\n" not in str(error.value)


def _set(path: str, value: object) -> Callable[[Manifest, dict[str, bytes]], None]:
    def change(manifest: Manifest, members: dict[str, bytes]) -> None:
        del members
        place: Any = manifest
        *keys, last = path.split(".")
        for key in keys:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 99),
        ("format", "1"),
        ("fingerprint", "0" * 16),
        ("config.inp_width", 3),
        ("config", []),
        ("batch", 0),
        ("batch", True),
        ("arena", -1),
        ("arena", 128),
        ("arena", 1 << 60),
        ("tensors", {}),
        ("tensors.1.inp_offset", 1),
        ("tensors.1.inp_offset", 1 << 40),
        ("tensors.1.shape", [1, 3, -2, 2]),
        ("tensors.1.shape", [1 << 30, 1 << 30, 1 << 30, 1]),
        ("tensors.1.shape", [3]),
        ("tensors.1.dtype", "object"),
        ("tensors.1.name", "x"),
        ("layers.0.op", "eval"),
        ("layers.0.first", 4),
        ("layers.0.count", 5),
        ("layers.0.alone_first", 1),
        ("layers.0.inputs", ["x"]),
        ("layers.0.inputs", []),
        ("layers.0.output", "nowhere"),
        ("layers.0.attributes", {}),
        ("layers.0.attributes", {"kernel": ["1"]}),
        ("layers.0.arrays", {"weight": "w"}),
        ("steps.0.kind", "shell"),
        ("steps.0.model", "../../etc/passwd"),
        ("steps.1.count", 5),
        ("steps.1.layers", ["d"]),
        ("segments.0.offset", 1),
        ("segments.0.offset", 1 << 20),
        ("segments.0.name", "gone"),
        ("arrays.0.dtype", "O"),
        ("arrays.0.shape", [1 << 40, 1 << 40]),
        ("arrays.0.offset", 1 << 30),
        ("layers.0.attributes.strides", [0, 1]),
        ("layers.0.attributes.kernel", [3, 3]),
        ("steps", []),
        ("inputs", ["nothing"]),
        ("inputs", "x"),
        ("offload", {"a": 1}),
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, path: str, value: object) -> None:
    file = tmp_path / "p.vta"
    sample().save(file)
    rewrite(file, _set(path, value))
    with pytest.raises(ProgramError) as error:
        Program.load(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_damage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.vta"
    sample().save(file)
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(data[: int(rng.integers(1, len(data)))] if rng.integers(2) else data)
        try:
            Program.load(file)
        except ProgramError as error:
            assert "\n" not in str(error)  # noqa: PT017  (a flipped bit in a zip header may do no harm)


def test_members_must_match(tmp_path: Path) -> None:
    file = tmp_path / "p.vta"
    for change, text in (
        (lambda _, f: f.update({"segment/uops": b"\0\0\0\0"}), "damaged"),
        (lambda _, f: f.update(extra=b""), "not in the manifest"),
        (lambda _, f: f.pop("reference.bin"), "missing"),
    ):
        sample().save(file)
        rewrite(file, change, rehash=False)
        with pytest.raises(ProgramError, match=text):
            Program.load(file)


def test_not_a_program(tmp_path: Path) -> None:
    file = tmp_path / "p.vta"
    file.write_bytes(b"hello")
    with pytest.raises(ProgramError, match="not a program"):
        Program.load(file)
    with pytest.raises(ProgramError, match="cannot be read"):
        Program.load(tmp_path / "missing.vta")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", "[" * 100_000)
    with pytest.raises(ProgramError):
        Program.load(file)


def test_unwritable_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        sample().save(tmp_path / "no" / "p.vta")
    assert list(tmp_path.iterdir()) == []


def test_other_configuration_is_refused() -> None:
    with pytest.raises(ProgramError, match="compiled for configuration tiny"):
        sample().require(load_preset("int4"))
    with pytest.raises(ProgramError, match="layers: c"):
        sample().layer("d")
