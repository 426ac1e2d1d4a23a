"""The ``.vta`` file: a zip with a JSON manifest, binary segments and CPU subgraphs, each with its SHA-256.

Members: ``manifest.json``; ``segment/NAME`` (bytes of the arena); ``reference.bin`` (integer weights of the
reference); ``cpu/NNNN.onnx``. The same program gives the same bytes. A file from a stranger is checked
before anything in it is used: names, sizes before unpacking, hashes, every JSON type and every offset.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ProgramError
from .files import atomic_output
from .program import ALONE, INSTRUCTIONS, CpuStep, Program, Segment
from .program_checks import check_order
from .program_json import (
    Reader,
    cpu_member,
    instruction_total,
    manifest,
    read_arrays,
    read_config,
    read_layers,
    read_steps,
    read_tensors,
)

MANIFEST = "manifest.json"
REFERENCE = "reference.bin"
_SEGMENT = "segment/"
_MANIFEST_LIMIT = 64 << 20
_TOTAL_LIMIT = 2 << 30
_MEMBER_LIMIT = 100_000
_RATIO_LIMIT = 1100
"""Deflate cannot shrink anything by more than 1032: a larger claim is a lie."""
_SAMPLES, _SAMPLE = 16, 4096
"""Parts of a member that are compressed on trial, and the bytes of each."""
_WORTH = 0.875
"""Share that deflate may leave of them to be worth its time."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_ARRAY_ALIGNMENT = 8


def _pack_arrays(program: Program) -> tuple[bytes, list[dict[str, Any]]]:
    data, index = bytearray(), []
    for name, array in program.arrays.items():
        data += bytes(-len(data) % _ARRAY_ALIGNMENT)
        kind = array.dtype.newbyteorder("<")
        index.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "offset": len(data)})
        data += np.ascontiguousarray(array).astype(kind).tobytes()
    return bytes(data), index


def _members(program: Program) -> dict[str, bytes]:
    reference, index = _pack_arrays(program)
    members = {f"{_SEGMENT}{segment.name}": segment.data for segment in program.segments}
    members[REFERENCE] = reference
    for number, step in enumerate(program.steps):
        if isinstance(step, CpuStep):
            members[cpu_member(number)] = step.model
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    text = json.dumps(manifest(program, hashes, index), separators=(",", ":"), sort_keys=True)
    return {MANIFEST: text.encode(), **members}


def save(program: Program, path: Path) -> None:
    """Write ``program``, whole or not at all. Raises DataError."""
    members = _members(program)
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED if _shrinks(data) else zipfile.ZIP_STORED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, compresslevel=1)


def _shrinks(data: bytes) -> bool:
    """Whether deflate is worth its time: it leaves at most _WORTH of samples. Weights often hardly shrink."""
    step = max(len(data) // _SAMPLES, _SAMPLE)
    sample = b"".join(data[start : start + _SAMPLE] for start in range(0, len(data), step))
    return len(zlib.compress(sample, level=1)) <= _WORTH * len(sample)


def _infos(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MEMBER_LIMIT:
        raise ProgramError(f"{path}: {len(infos)} members, a program has at most {_MEMBER_LIMIT}")
    total = 0
    for info in infos:
        total += info.file_size
        if info.file_size > _RATIO_LIMIT * max(info.compress_size, 1) or info.flag_bits & 1:
            raise ProgramError(f"{path}: member {info.filename!r} is not one that this software writes (a zip bomb?)")
    if total > _TOTAL_LIMIT:
        raise ProgramError(f"{path}: {total} bytes unpacked, the limit is {_TOTAL_LIMIT}")
    named = {info.filename: info for info in infos}
    if len(named) != len(infos):
        raise ProgramError(f"{path}: a member is stored twice")
    return named


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise ProgramError(
            f"{path}: member {info.filename!r} has {len(data)} bytes or more instead of {info.file_size}"
        )
    return data


def _read_members(path: Path) -> tuple[Reader, dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        infos = _infos(archive, path)
        head = infos.pop(MANIFEST, None)
        if head is None or head.file_size > _MANIFEST_LIMIT:
            raise ProgramError(f"{path}: is not a program: it has no usable {MANIFEST}")
        root = Reader(json.loads(_extract(archive, head, path).decode()), "program")
        hashes = root.strings("sha256")
        if set(hashes) != set(infos):
            odd = sorted(set(hashes) ^ set(infos))[0]
            raise ProgramError(f"{path}: member {odd!r} is {'missing' if odd in hashes else 'not in the manifest'}")
        members = {name: _extract(archive, info, path) for name, info in infos.items()}
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != hashes[name]:
            raise ProgramError(f"{path}: member {name!r} is damaged: its SHA-256 differs from the manifest's")
    return root, members


def load(path: Path) -> Program:
    """Read and check a program file. Raises ProgramError in one line."""
    try:
        root, members = _read_members(path)
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ProgramError(f"{path}: is not a program file, or damaged: {_line(error)}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ProgramError(f"{path}: its manifest is damaged: {_line(error)}") from None
    try:
        return _build(root, members)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _build(root: Reader, members: dict[str, bytes]) -> Program:
    config = read_config(root)
    arena = root.integer("arena", 0, _TOTAL_LIMIT * 4)
    segments = _read_segments(root, members, arena)
    total, alone = (
        instruction_total(next((s.data for s in segments if s.name == name), b"")) for name in (INSTRUCTIONS, ALONE)
    )
    tensors = read_tensors(root, config, arena)
    if REFERENCE not in members:
        raise ProgramError(f"program has no {REFERENCE}")
    arrays = read_arrays(root, members[REFERENCE])
    layers = read_layers(root, tensors, (total, alone), {name: array.shape for name, array in arrays.items()})
    steps = read_steps(root, tensors, layers, total, {n: d for n, d in members.items() if n.startswith("cpu/")})
    inputs, outputs = root.names("inputs"), root.names("outputs")
    if not {*inputs, *outputs} <= set(tensors):
        raise ProgramError("program manifest: an input or output names a tensor that does not exist")
    check_order(steps, {layer.name: layer for layer in layers}, inputs, outputs)
    return Program(
        config=config,
        batch=root.integer("batch", 1, 1 << 20),
        tensors=tensors,
        layers=layers,
        steps=steps,
        inputs=inputs,
        outputs=outputs,
        segments=segments,
        arrays=arrays,
        arena_size=arena,
        name=root.text("name"),
        offload=root.strings("offload"),
        choices=root.strings("choices"),
    )


def _read_segments(root: Reader, members: dict[str, bytes], arena: int) -> tuple[Segment, ...]:
    segments = []
    for item in root.tables("segments"):
        name, offset = item.text("name"), item.integer("offset")
        if f"{_SEGMENT}{name}" not in members:
            raise ProgramError(f"program manifest: segment {name!r} has no member")
        data = members[f"{_SEGMENT}{name}"]
        if offset % 64 or offset + len(data) > arena:
            raise ProgramError(f"program manifest: segment {name!r} at {offset} is outside the arena of {arena} bytes")
        segments.append(Segment(name, offset, data))
    return tuple(segments)
