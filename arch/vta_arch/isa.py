"""The instruction set as data: the fields of every instruction; its codes are those of :mod:`vta_arch.opcodes`.

Bit positions follow C bit-field packing in two little-endian 64-bit words, field by field: a field
that does not fit in the rest of a word starts the next one. Hardware, simulators, compiler and the
generated documentation all take their positions from :func:`insn_fields` and :func:`uop_fields`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .config import LOOP_ITER_BITS, SRAM_BASE_BITS, UOP_BITS, VTAConfig
from .errors import ConfigError
from .opcodes import (
    LOAD_UNIT_MEMORIES,
    AluOp,
    Memory,
    Opcode,
    Unit,
    alu_ops,
    loadable,
    memory_elem_bytes,
    opcodes,
    sram_depth,
)

__all__ = [
    "ACC_BANKS",
    "INSN_BITS",
    "INSN_BYTES",
    "LOAD_UNIT_MEMORIES",
    "ONE_BANK_BIT",
    "TOKEN_LIMIT",
    "WORD_BITS",
    "AluOp",
    "Field",
    "Memory",
    "Opcode",
    "Unit",
    "alu_ops",
    "insn_fields",
    "loadable",
    "memory_elem_bytes",
    "opcodes",
    "padded_load_fields",
    "sram_depth",
    "uop_fields",
]

INSN_BITS = 128
INSN_BYTES = INSN_BITS // 8
WORD_BITS = 64
TOKEN_LIMIT = 65535
"""Tokens that a dependency queue holds; a push beyond it waits (it is never lost)."""


@dataclass(frozen=True)
class Field:
    """One bit field of an instruction or micro-op, ``low`` counted from its least significant bit."""

    name: str
    low: int
    width: int
    signed: bool = False
    help: str = ""

    @property
    def high(self) -> int:
        return self.low + self.width - 1

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1

    @property
    def min(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << (self.width - int(self.signed))) - 1


_Spec = tuple[str, int, bool, str]


def _common(_cfg: VTAConfig | None = None) -> list[_Spec]:
    return [
        ("opcode", 3, False, "what to do and which unit does it"),
        ("pop_prev", 1, False, "wait for a token from the previous unit"),
        ("pop_next", 1, False, "wait for a token from the next unit"),
        ("push_prev", 1, False, "give a token to the previous unit when done"),
        ("push_next", 1, False, "give a token to the next unit when done"),
    ]


def _memory_specs(free: list[_Spec], rows: list[_Spec], last: list[_Spec]) -> list[_Spec]:
    """LOAD or STORE: extensions choose what stands in the base format's free bits, rows and pads."""
    return [
        *_common(),
        ("memory_type", 3, False, "scratchpad that is loaded (STORE ignores it)"),
        ("sram_base", SRAM_BASE_BITS, False, "first scratchpad index"),
        ("dram_base", 32, False, "first element in DRAM, counted from the memory's base register"),
        *free,
        *rows,
        ("x_size", 16, False, "elements in a row"),
        ("x_stride", 16, False, "elements from one row to the next in DRAM"),
        *last,
    ]


_FREE: list[_Spec] = [("reserved", 6, False, "0")]
_ROWS: list[_Spec] = [("y_size", 16, False, "rows")]
_PADS: list[_Spec] = [
    ("y_pad_0", 4, False, "rows of padding before"),
    ("y_pad_1", 4, False, "rows of padding after"),
    ("x_pad_0", 4, False, "elements of padding before each row"),
    ("x_pad_1", 4, False, "elements of padding after each row"),
]


def _load_specs(cfg: VTAConfig) -> list[_Spec]:
    if "pad_value" not in cfg.extensions:
        return _memory_specs(_FREE, _ROWS, _PADS)
    free: list[_Spec] = [("pad", 1, False, "padding is pad_value (the rows' upper half)"), ("reserved", 5, False, "0")]
    return _memory_specs(free, _ROWS, _PADS)


def _padded_load_specs(cfg: VTAConfig) -> list[_Spec]:
    """LOAD with ``pad``: fewer rows, and the value."""
    rows: list[_Spec] = [("y_size", 8, False, "rows"), ("pad_value", 8, True, "value of the padding's elements")]
    return [item for spec in _load_specs(cfg) for item in (rows if spec[0] == "y_size" else [spec])]


def _store_specs(cfg: VTAConfig) -> list[_Spec]:
    if "requant" not in cfg.extensions:
        return _memory_specs(_FREE, _ROWS, _PADS)
    free: list[_Spec] = [
        ("requant", 1, False, "requantize with parameters req_index"),
        ("req_rows", 1, False, "each row has parameters of its own: req_index + row"),
        ("reserved", 4, False, "0"),
    ]
    last: list[_Spec] = [("req_index", 16, False, "requantization parameters; ignored without requant")]
    return _memory_specs(free, _ROWS, last)


def _loop_specs(cfg: VTAConfig) -> list[_Spec]:
    u, a = cfg.log_uop_depth, cfg.log_acc_depth
    return [
        *_common(),
        ("reset", 1, False, "GEMM: write zero instead of accumulating"),
        ("uop_bgn", u, False, "first micro-op"),
        ("uop_end", u + 1, False, "one past the last micro-op"),
        ("iter_out", LOOP_ITER_BITS, False, "outer loop count"),
        ("iter_in", LOOP_ITER_BITS, False, "inner loop count"),
        ("dst_factor_out", a, False, "added to dst at each outer iteration"),
        ("dst_factor_in", a, False, "added to dst at each inner iteration"),
    ]


ACC_BANKS = 2
"""Banks of the accumulators, chosen by the top bits of the index."""
ONE_BANK_BIT = 63
"""Bit of GEMM, DEPTHWISE and ALU that declares one accumulator bank (extension ``overlap``)."""


def _gemm_specs(cfg: VTAConfig) -> list[_Spec]:
    i, w = cfg.log_inp_depth, cfg.log_wgt_depth
    return [
        *_loop_specs(cfg),
        ("src_factor_out", i, False, "added to src at each outer iteration"),
        ("src_factor_in", i, False, "added to src at each inner iteration"),
        ("wgt_factor_out", w, False, "added to wgt at each outer iteration"),
        ("wgt_factor_in", w, False, "added to wgt at each inner iteration"),
    ]


def _alu_specs(cfg: VTAConfig) -> list[_Spec]:
    a = cfg.log_acc_depth
    return [
        *_loop_specs(cfg),
        ("src_factor_out", a, False, "added to src at each outer iteration"),
        ("src_factor_in", a, False, "added to src at each inner iteration"),
        ("alu_opcode", 3, False, "operation"),
        ("use_imm", 1, False, "the second operand is imm instead of acc[src]"),
        ("imm", 16, True, "immediate operand"),
    ]


def _pack(specs: list[_Spec], word_bits: int) -> dict[str, Field]:
    fields, position = {}, 0
    for name, width, signed, text in specs:
        if position // word_bits != (position + width - 1) // word_bits:
            position = (position // word_bits + 1) * word_bits
        fields[name] = Field(name, position, width, signed, text)
        position += width
    return fields


_SPECS: dict[Opcode, Callable[[VTAConfig], list[_Spec]]] = {
    Opcode.LOAD: _load_specs,
    Opcode.STORE: _store_specs,
    Opcode.GEMM: _gemm_specs,
    Opcode.FINISH: _common,
    Opcode.ALU: _alu_specs,
    Opcode.DEPTHWISE: _gemm_specs,
}


@lru_cache(maxsize=256)
def insn_fields(cfg: VTAConfig, opcode: Opcode) -> dict[str, Field]:
    """Fields of the instruction ``opcode`` by name, in the order in which they are packed; extensions last.

    Raises ConfigError when an extension's bit is taken by a field of the base format.
    """
    fields = _pack(_SPECS[opcode](cfg), WORD_BITS)
    if "overlap" in cfg.extensions and opcode in (Opcode.GEMM, Opcode.ALU, Opcode.DEPTHWISE):
        taken = [item.name for item in fields.values() if item.low <= ONE_BANK_BIT <= item.high]
        if taken:
            raise ConfigError(
                f"extension 'overlap' needs bit {ONE_BANK_BIT} of {opcode.name}, where {taken[0]} lies with "
                f"log_uop_buff = {cfg.log_uop_buff}; choose another log_uop_buff or leave the extension out"
            )
        fields["one_bank"] = Field("one_bank", ONE_BANK_BIT, 1, help="all accumulators lie in one bank")
    return fields


@lru_cache(maxsize=64)
def padded_load_fields(cfg: VTAConfig) -> dict[str, Field]:
    """Fields of a LOAD whose ``pad`` bit is set (extension ``pad_value``)."""
    return _pack(_padded_load_specs(cfg), WORD_BITS)


@lru_cache(maxsize=64)
def uop_fields(cfg: VTAConfig) -> dict[str, Field]:
    """Fields of a micro-op: dst, src (of inp for GEMM, of acc for ALU) and wgt."""
    a, i, w = cfg.log_acc_depth, cfg.log_inp_depth, cfg.log_wgt_depth
    return _pack(
        [
            ("dst", a, False, "accumulator index"),
            ("src", max(a, i), False, "input index (GEMM) or accumulator index (ALU)"),
            ("wgt", w, False, "weight index (GEMM)"),
        ],
        UOP_BITS,
    )
