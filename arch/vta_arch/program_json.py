"""The manifest of a program file: to JSON values, and back with every type and range checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .config import VTAConfig
from .errors import ConfigError, ProgramError
from .isa import INSN_BYTES, Memory
from .packing import PackStep
from .program import (
    ARRAY_TYPES,
    FORMAT_VERSION,
    HOST_TYPES,
    INTEGER_TYPES,
    CpuStep,
    Layer,
    Program,
    Region,
    Step,
    Tensor,
    alignment,
    tensor_bytes,
)
from .program_checks import check_layer, check_pack

_COUNT_LIMIT = 1 << 20
_INT_LIMIT = 1 << 48


def manifest(program: Program, members: Mapping[str, str], arrays: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest of ``program``: ``members`` gives each member's SHA-256, ``arrays`` the reference's index."""
    steps: list[dict[str, Any]] = []
    for number, step in enumerate(program.steps):
        if isinstance(step, Region):
            steps.append({"kind": "region", "layers": step.layers, "first": step.first, "count": step.count})
        elif isinstance(step, PackStep):
            steps.append({"kind": "pack", **vars(step)})
        else:
            names = {"inputs": step.inputs, "outputs": step.outputs, "nodes": step.nodes}
            steps.append({"kind": "cpu", "model": cpu_member(number), **names})
    return {
        "format": FORMAT_VERSION,
        "name": program.name,
        "config": program.config.to_dict(),
        "fingerprint": program.config.fingerprint_hex,
        "batch": program.batch,
        "arena": program.arena_size,
        "inputs": program.inputs,
        "outputs": program.outputs,
        "tensors": [vars(tensor) for tensor in program.tensors.values()],
        "layers": [{**vars_of(layer)} for layer in program.layers],
        "steps": steps,
        "segments": [{"name": s.name, "offset": s.offset} for s in program.segments],
        "arrays": arrays,
        "offload": dict(program.offload),
        "choices": dict(program.choices),
        "sha256": dict(members),
    }


def vars_of(layer: Layer) -> dict[str, Any]:
    """The fields of a layer as JSON values."""
    names = ("name", "op", "inputs", "output", "first", "count", "alone_first", "alone_count", "macs")
    values: dict[str, Any] = {name: getattr(layer, name) for name in names}
    return {**values, "attributes": dict(layer.attributes), "arrays": dict(layer.arrays)}


def cpu_member(number: int) -> str:
    """Name of the member that holds the subgraph of step ``number``."""
    return f"cpu/{number:04d}.onnx"


class Reader:
    """Typed access to a JSON table; anything unexpected is a ProgramError that names the place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ProgramError(f"program manifest: {where} is not a table")
        self._values: dict[str, Any] = value
        self._where = where

    def _bad(self, key: str, wanted: str) -> ProgramError:
        return ProgramError(f"program manifest: {self._where}.{key} is missing or not {wanted}")

    def integer(self, key: str, low: int = 0, high: int = _INT_LIMIT) -> int:
        value = self._values.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._bad(key, f"a whole number from {low} to {high}")
        return value

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if not isinstance(value, str):
            raise self._bad(key, "a string")
        return value

    def values(self, key: str) -> list[Any]:
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) > _COUNT_LIMIT:
            raise self._bad(key, "a list")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self.values(key)
        if not all(isinstance(item, str) for item in value):
            raise self._bad(key, "a list of names")
        return tuple(value)

    def integers(self, key: str, low: int = -(1 << 31), high: int = 1 << 31) -> tuple[int, ...]:
        value = self.values(key)
        if not all(type(item) is int and low <= item <= high for item in value):
            raise self._bad(key, f"a list of whole numbers from {low} to {high}")
        return tuple(value)

    def table(self, key: str) -> Reader:
        return Reader(self._values.get(key), f"{self._where}.{key}")

    def tables(self, key: str) -> list[Reader]:
        return [Reader(item, f"{self._where}.{key}[{at}]") for at, item in enumerate(self.values(key))]

    def strings(self, key: str) -> dict[str, str]:
        value = self._values.get(key)
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._bad(key, "a table of strings")
        return dict(value)

    def keys(self) -> list[str]:
        return list(self._values)

    def raw(self, key: str) -> object:
        return self._values.get(key)


def read_config(root: Reader) -> VTAConfig:
    """The configuration, its fingerprint checked. Raises ProgramError."""
    version = root.integer("format")
    if version != FORMAT_VERSION:
        raise ProgramError(
            f"program has format version {version}, this software reads {FORMAT_VERSION}; compile it again"
        )
    try:
        config = VTAConfig.from_dict(root.raw("config"), "program manifest: config")
    except ConfigError as error:
        raise ProgramError(str(error)) from None
    if config.fingerprint_hex != root.text("fingerprint"):
        raise ProgramError(
            f"program manifest: fingerprint {root.text('fingerprint')[:16]!r} is not that of its configuration "
            f"({config.fingerprint_hex})"
        )
    return config


def read_tensors(root: Reader, config: VTAConfig, arena: int) -> dict[str, Tensor]:
    """Tensors by name, their place in the arena checked. Raises ProgramError."""
    tensors: dict[str, Tensor] = {}
    for item in root.tables("tensors"):
        tensor = Tensor(
            item.text("name"),
            item.integers("shape", 0, 1 << 31),
            item.text("dtype"),
            item.integer("low", -(1 << 31)),
            item.integer("high", -(1 << 31)),
            item.integer("inp_offset", -1),
            item.integer("out_offset", -1),
        )
        if tensor.dtype not in INTEGER_TYPES and tensor.dtype not in HOST_TYPES:
            raise ProgramError(f"program manifest: tensor {tensor.name!r} has the unknown type {tensor.dtype!r}")
        if tensor.name in tensors:
            raise ProgramError(f"program manifest: tensor {tensor.name!r} is listed twice")
        for memory, offset in ((Memory.INP, tensor.inp_offset), (Memory.OUT, tensor.out_offset)):
            if offset < 0:
                continue
            end = offset + tensor_bytes(config, tensor, memory)
            if not tensor.is_integer or offset % alignment(config, memory) or end > arena:
                raise ProgramError(
                    f"program manifest: tensor {tensor.name!r} at {offset} is outside the arena of {arena} bytes"
                )
        tensors[tensor.name] = tensor
    return tensors


def read_layers(
    root: Reader,
    tensors: Mapping[str, Tensor],
    totals: tuple[int, int],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Layer, ...]:
    """Layers, checked against tensors and the arrays' shapes. Raises ProgramError.

    ``totals``: instructions of the regions, and of the layers by themselves.
    """
    total, alone = totals
    layers = []
    for item in root.tables("layers"):
        table = item.table("attributes")
        layer = Layer(
            item.text("name"),
            item.text("op"),
            item.names("inputs"),
            item.text("output"),
            {key: table.integers(key) for key in table.keys()},  # noqa: SIM118  (a Reader is not a dict)
            item.strings("arrays"),
            item.integer("first", 0, total),
            item.integer("count", 0, total),
            item.integer("alone_first", 0, alone),
            item.integer("alone_count", 0, alone),
            item.integer("macs"),
        )
        if layer.first + layer.count > total or layer.alone_first + layer.alone_count > alone:
            raise ProgramError(f"program manifest: layer {layer.name!r} ends past the {total} and {alone} instructions")
        check_layer(layer, tensors, shapes)
        layers.append(layer)
    if len({layer.name for layer in layers}) != len(layers):
        raise ProgramError("program manifest: two layers have the same name")
    return tuple(layers)


def read_steps(
    root: Reader, tensors: Mapping[str, Tensor], layers: tuple[Layer, ...], total: int, models: Mapping[str, bytes]
) -> tuple[Step, ...]:
    """Steps; every name in them exists. Raises ProgramError."""
    known = {layer.name for layer in layers}
    steps: list[Step] = []
    for number, item in enumerate(root.tables("steps")):
        kind = item.text("kind")
        if kind == "region":
            region = Region(item.names("layers"), item.integer("first", 0, total), item.integer("count", 1, total))
            if region.first + region.count > total or not set(region.layers) <= known:
                raise ProgramError(f"program manifest: step {number} names instructions or layers that do not exist")
            steps.append(region)
        elif kind == "cpu":
            member = item.text("model")
            names = item.names("inputs"), item.names("outputs")
            if member not in models or not {*names[0], *names[1]} <= set(tensors):
                raise ProgramError(f"program manifest: step {number} names a subgraph or tensors that do not exist")
            steps.append(CpuStep(models[member], *names, item.names("nodes")))
        elif kind == "pack":
            steps.append(_read_pack(item, tensors))
        else:
            raise ProgramError(f"program manifest: step {number} has the unknown kind {kind!r}")
    return tuple(steps)


def _read_pack(item: Reader, tensors: Mapping[str, Tensor]) -> PackStep:
    window, strides, dilations, before = (_pair(item, key) for key in ("window", "strides", "dilations", "before"))
    step = PackStep(
        item.text("input"), item.text("output"), window, strides, dilations, before, item.integer("value", -(1 << 31))
    )
    check_pack(step, tensors)
    return step


def _pair(item: Reader, key: str) -> tuple[int, int]:
    values = item.integers(key)
    if len(values) != 2:
        raise ProgramError(f"program manifest: {key} of a packing has {len(values)} numbers instead of 2")
    return values[0], values[1]


def read_arrays(root: Reader, data: bytes) -> dict[str, np.ndarray[Any, np.dtype[np.integer]]]:
    """The integer reference's arrays, read-only views of ``data``. Raises ProgramError."""
    arrays = {}
    for item in root.tables("arrays"):
        name, kind, shape, offset = (
            item.text("name"),
            item.text("dtype"),
            item.integers("shape", 0),
            item.integer("offset"),
        )
        if kind not in ARRAY_TYPES:
            raise ProgramError(f"program manifest: array {name!r} has the unknown type {kind!r}")
        dtype = np.dtype(kind).newbyteorder("<")
        count = 1
        for size in shape:
            count *= size
        if offset + count * dtype.itemsize > len(data):
            raise ProgramError(f"program manifest: array {name!r} ends past its segment of {len(data)} bytes")
        arrays[name] = np.frombuffer(data, dtype, count, offset).reshape(shape)
    return arrays


def instruction_total(data: bytes) -> int:
    """Instructions in a stream. Raises ProgramError unless it is a whole number."""
    if len(data) % INSN_BYTES:
        raise ProgramError(f"program: instruction segment of {len(data)} bytes is no multiple of {INSN_BYTES}")
    return len(data) // INSN_BYTES
