"""Reads the ONNX models of CPU subgraphs without the onnx package, which a board need not have.

Only what such a subgraph holds is read: nodes with plain attributes, initializers with their data in the file, and the
names of inputs and outputs. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vta_arch.errors import ProgramError

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | NDArray[Any]

_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_DTYPES |= {12: "<u4", 13: "<u8"}
PACKED = {21: (4, False), 22: (4, True), 25: (2, False), 26: (2, True)}
"""Types of less than a byte: bits, and whether they are signed."""


@dataclass(frozen=True)
class Node:
    """An operator and the names of its tensors; an input that is left out is ''."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


@dataclass
class Model:
    """A graph of nodes in the order in which they run."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    opset: int = 0


def read_model(data: bytes) -> Model:
    """The model in ``data``. Raises ProgramError for anything else."""
    model = Model()
    try:
        for number, value in fields(data):
            if number == 8:  # opset_import
                parts = dict(fields(value))
                if parts.get(1, b"") == b"":
                    model.opset = int(parts.get(2, 0))
            if number == 7:  # graph
                for part, inner in fields(value):
                    if part == 1:
                        model.nodes.append(_node(inner))
                    elif part == 5:
                        name, array = _tensor(inner)
                        model.constants[name] = array
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise ProgramError(f"a CPU subgraph is no ONNX model: {error}") from None
    return model


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, at
        if shift > 63:
            raise ValueError("a number is too long")


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a message: numbers as int, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError("a field is cut off or of an unknown kind")
        yield key >> 3, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _integers(values: list[Any]) -> tuple[int, ...]:
    """Integers that come packed or one by one."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(_signed(number))
    return tuple(found)


def _node(data: bytes) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    attributes: dict[str, Attribute] = {}
    for number, value in fields(data):
        if number in texts:
            texts[number].append(value.decode())
        elif number == 5:
            name, attribute = _attribute(value)
            attributes[name] = attribute
    return Node("".join(texts[4]), "".join(texts[3]), tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(data: bytes) -> tuple[str, Attribute]:
    parts: dict[int, list[Any]] = {}
    for number, value in fields(data):
        parts.setdefault(number, []).append(value)
    name = parts[1][0].decode()
    if 3 in parts:
        return name, _signed(parts[3][0])
    if 2 in parts:
        return name, float(struct.unpack("<f", parts[2][0])[0])
    if 4 in parts:
        return name, parts[4][0].decode()
    if 5 in parts:
        return name, _tensor(parts[5][0])[1]
    if 7 in parts:
        return name, tuple(float(v) for v in np.frombuffer(b"".join(parts[7]), "<f4"))
    return name, _integers(parts.get(8, [])) if parts.get(20, [0])[0] != 2 else 0


def _tensor(data: bytes) -> tuple[str, NDArray[Any]]:
    parts: dict[int, list[Any]] = {}
    for number, value in fields(data):
        parts.setdefault(number, []).append(value)
    shape, kind = _integers(parts.get(1, [])), parts.get(2, [0])[0]
    name = parts.get(8, [b""])[0].decode()
    if 13 in parts or (kind not in _DTYPES and kind not in PACKED):
        raise ValueError(f"constant {name!r} has the type number {kind} or lies in another file")
    if kind in PACKED:
        return name, _unpacked(parts, shape, *PACKED[kind])
    dtype = np.dtype(_DTYPES[kind])
    if 9 in parts:
        values = np.frombuffer(parts[9][0], dtype)
    elif kind in (1, 11):
        values = np.frombuffer(b"".join(parts.get(4 if kind == 1 else 10, [])), dtype)
    else:
        values = np.array(_integers(parts.get(7 if kind == 7 else 5, [])), dtype)
    return name, values.reshape(shape)


def _unpacked(parts: dict[int, list[Any]], shape: tuple[int, ...], bits: int, signed: bool) -> NDArray[Any]:
    """Elements below a byte as int8 or uint8, the first one in the lowest bits."""
    stored = parts[9][0] if 9 in parts else bytes(value & 0xFF for value in _integers(parts.get(5, [])))
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    values = (np.frombuffer(stored, np.uint8)[:, None] >> shifts & ((1 << bits) - 1)).reshape(-1)
    count = int(np.prod(shape, dtype=np.int64))
    wide = values[:count].astype(np.int8 if signed else np.uint8)
    if signed:
        wide = np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide).astype(np.int8)
    return wide.reshape(shape)
