"""Encode and decode instructions and micro-ops."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .config import VTAConfig
from .errors import IsaError
from .isa import (
    INSN_BITS,
    INSN_BYTES,
    LOAD_UNIT_MEMORIES,
    WORD_BITS,
    AluOp,
    Field,
    Memory,
    Opcode,
    Unit,
    insn_fields,
    opcodes,
    padded_load_fields,
    uop_fields,
)


@dataclass(frozen=True)
class Insn:
    """One instruction: an opcode number (unknown ones included) and its field values.

    ``fields`` holds every field of the opcode's format but ``opcode`` itself; a field left out when
    building one with :func:`make` is 0. An instruction of unknown opcode keeps the token bits only.
    """

    opcode: int
    fields: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    @property
    def unit(self) -> Unit:
        """Unit that executes it. An unknown opcode has none: IsaError."""
        if self.opcode == Opcode.LOAD:
            return Unit.LOAD if self.fields["memory_type"] in LOAD_UNIT_MEMORIES else Unit.COMPUTE
        if self.opcode not in _UNITS:
            known = ", ".join(f"{o.name} {o.value}" for o in Opcode)
            raise IsaError(f"opcode {self.opcode} is unknown; known: {known}")
        return _UNITS[self.opcode]


_UNITS: dict[int, Unit] = {
    Opcode.STORE: Unit.STORE,
    **dict.fromkeys((Opcode.GEMM, Opcode.ALU, Opcode.FINISH, Opcode.DEPTHWISE), Unit.COMPUTE),
}
"""The unit of every instruction but LOAD."""


def _format(cfg: VTAConfig, opcode: int, *, pad: int = 0) -> dict[str, Field]:
    if pad:
        return padded_load_fields(cfg)
    return insn_fields(cfg, Opcode(opcode) if opcode in opcodes(cfg) else Opcode.FINISH)


def insn_format(cfg: VTAConfig, insn: Insn) -> dict[str, Field]:
    """Fields of an instruction by name; those of an unknown opcode are the token bits."""
    return _format(cfg, insn.opcode, pad=insn.fields.get("pad", 0))


def make(cfg: VTAConfig, opcode: Opcode, **values: int) -> Insn:
    """An instruction with the given fields, the others 0.

    Raises IsaError naming the field when a value does not fit or the field does not exist, and for an opcode
    that the configuration does not have.
    """
    zeros, bounds = _template(cfg, opcode, values.get("pad", 0))
    fields = zeros.copy()
    for name, value in values.items():
        if name not in bounds:
            raise IsaError(f"{opcode.name} has no field {name!r}; it has {', '.join(bounds)}")
        low, high = bounds[name]
        if not low <= value <= high:
            raise IsaError(f"{opcode.name}.{name} = {value}: must be from {low} to {high} in {cfg.name}")
        fields[name] = int(value)
    return Insn(int(opcode), fields)


@lru_cache(maxsize=256)
def _template(cfg: VTAConfig, opcode: Opcode, pad: int) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """All fields at 0, and what each may hold: compilers make hundreds of thousands of instructions."""
    if opcode not in opcodes(cfg):
        raise IsaError(f"{opcode.name}: configuration {cfg.name} does not have this opcode's extension")
    pad = pad if opcode == Opcode.LOAD and "pad_value" in cfg.extensions else 0
    fields = {name: item for name, item in _format(cfg, opcode, pad=pad).items() if name != "opcode"}
    return dict.fromkeys(fields, 0), {name: (item.min, item.max) for name, item in fields.items()}


def load(cfg: VTAConfig, memory: Memory, **values: int) -> Insn:
    """LOAD into ``memory``; see :func:`make` for the fields and errors."""
    return make(cfg, Opcode.LOAD, memory_type=int(memory), **values)


def store(cfg: VTAConfig, **values: int) -> Insn:
    """STORE of accumulators to the OUT memory; see :func:`make`."""
    return make(cfg, Opcode.STORE, **{"memory_type": int(Memory.OUT), **values})


def gemm(cfg: VTAConfig, **values: int) -> Insn:
    """GEMM; see :func:`make`."""
    return make(cfg, Opcode.GEMM, **values)


def depthwise(cfg: VTAConfig, **values: int) -> Insn:
    """DEPTHWISE (extension of this name); see :func:`make`."""
    return make(cfg, Opcode.DEPTHWISE, **values)


def alu(cfg: VTAConfig, op: AluOp, **values: int) -> Insn:
    """ALU operation; give ``imm`` together with ``use_imm=1``; see :func:`make`."""
    return make(cfg, Opcode.ALU, alu_opcode=int(op), **values)


def finish(cfg: VTAConfig, **values: int) -> Insn:
    """FINISH; see :func:`make`."""
    return make(cfg, Opcode.FINISH, **values)


def encode(cfg: VTAConfig, insn: Insn) -> int:
    """The 128-bit word of an instruction. Raises IsaError when a field does not fit."""
    word = insn.opcode
    places = _places(cfg, insn.opcode, insn.fields.get("pad", 0))
    for name, value in insn.fields.items():
        low, mask, least, most = places[name]
        if not least <= value <= most:
            raise IsaError(f"field {name} = {value}: must be from {least} to {most} in {cfg.name}")
        word |= (value & mask) << low
    return word


@lru_cache(maxsize=256)
def _places(cfg: VTAConfig, opcode: int, pad: int) -> dict[str, tuple[int, int, int, int]]:
    """Of each field its lowest bit, its mask, and what it may hold."""
    return {name: (item.low, item.mask, item.min, item.max) for name, item in _format(cfg, opcode, pad=pad).items()}


def extract(item: Field, word: int) -> int:
    """Value of the field ``item`` in ``word``."""
    value = (word >> item.low) & item.mask
    return value - (item.mask + 1) if item.signed and value > item.max else value


def decode(cfg: VTAConfig, word: int) -> Insn:
    """The instruction of a 128-bit word; an unknown opcode keeps its number and token bits."""
    opcode = word & 7
    formats = _format(cfg, opcode)
    if "pad" in formats and extract(formats["pad"], word):
        formats = padded_load_fields(cfg)
    return Insn(opcode, {name: extract(item, word) for name, item in formats.items() if name != "opcode"})


def encode_stream(cfg: VTAConfig, insns: list[Insn]) -> bytes:
    """The bytes of an instruction stream, 16 an instruction, least significant first."""
    return b"".join(encode(cfg, insn).to_bytes(INSN_BYTES, "little") for insn in insns)


def decode_stream(cfg: VTAConfig, data: bytes) -> list[Insn]:
    """The instructions of a stream, all of a format at once. Raises IsaError when its length is no multiple of 16."""
    if len(data) % INSN_BYTES:
        raise IsaError(f"instruction stream of {len(data)} bytes: must be a multiple of {INSN_BYTES}")
    words = np.frombuffer(data, dtype="<u8").reshape(-1, INSN_BITS // WORD_BITS)
    found: dict[int, Insn] = {}
    for opcode in np.unique(words[:, 0] & np.uint64(7)).tolist():
        rows = np.flatnonzero(words[:, 0] & np.uint64(7) == opcode)
        formats = _format(cfg, opcode)
        padded = _column(formats["pad"], words[rows]) != 0 if "pad" in formats else np.zeros(len(rows), dtype=bool)
        for chosen, fields in ((rows[~padded], formats), (rows[padded], padded_load_fields(cfg))):
            names = [name for name in fields if name != "opcode"]
            values = zip(*(_column(fields[name], words[chosen]).tolist() for name in names), strict=True)
            for row, items in zip(chosen.tolist(), values, strict=True):
                found[row] = Insn(opcode, dict(zip(names, items, strict=True)))
    return [found[row] for row in range(len(words))]


def _column(item: Field, words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Values of a field in instructions [n, 2 words]; none is as wide as a word."""
    word, low = divmod(item.low, WORD_BITS)
    values = (words[:, word] >> np.uint64(low) & np.uint64(item.mask)).astype(np.int64)
    return np.where(values > item.max, values - (item.mask + 1), values) if item.signed else values


def encode_uops(cfg: VTAConfig, uops: NDArray[np.integer] | list[tuple[int, int, int]]) -> NDArray[np.uint32]:
    """Micro-ops as 32-bit words.

    Args:
        uops: shape [n, 3], columns dst, src, wgt.

    Raises IsaError naming the field when an index does not fit.
    """
    table = np.asarray(uops, dtype=np.int64).reshape(-1, 3)
    words = np.zeros(len(table), dtype=np.uint32)
    for column, item in zip(table.T, uop_fields(cfg).values(), strict=True):
        if column.size and not (column.min() >= 0 and column.max() <= item.max):
            worst = int(column.max() if column.max() > item.max else column.min())
            raise IsaError(f"uop.{item.name} = {worst}: must be from 0 to {item.max} in {cfg.name}")
        words |= column.astype(np.uint32) << np.uint32(item.low)
    return words


def decode_uops(cfg: VTAConfig, words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Micro-ops as an int64 array of shape [n, 3]: dst, src, wgt."""
    wide = words.astype(np.int64)
    return np.stack([(wide >> item.low) & item.mask for item in uop_fields(cfg).values()], axis=-1)
