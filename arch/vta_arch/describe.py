"""The page ``docs/isa.md``: the instruction set in words and tables, made from the data in this package.

python -m vta_arch.describe docs/isa.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .config import BASE_ALIGNMENT, LOOP_ITER_BITS, VTAConfig
from .files import write_text
from .isa import (
    INSN_BITS,
    LOAD_UNIT_MEMORIES,
    TOKEN_LIMIT,
    AluOp,
    Field,
    Memory,
    Opcode,
    insn_fields,
    memory_elem_bytes,
    padded_load_fields,
    sram_depth,
    uop_fields,
)
from .presets import load_preset
from .registers import ERROR_TEXT, Errors
from .requant import REQ_FIELDS

_SHOWN = ("pynq-z1", "classic", "tiny")
"""Presets whose bit positions are printed: they depend on the scratchpads' depths."""

_ALU_TEXT = {
    AluOp.MIN: "the smaller of acc[dst] and the operand",
    AluOp.MAX: "the larger of acc[dst] and the operand",
    AluOp.ADD: "acc[dst] + operand, wrapping",
    AluOp.SHR: "acc[dst] shifted right, arithmetic and truncating; a negative amount shifts left; the magnitude "
    "saturates at the accumulator width - 1",
    AluOp.MUL: "the low bits of acc[dst] * operand",
    AluOp.REQ: "acc[dst] requantized with the parameters whose index is the operand's (`src` itself, or `imm` without "
    "a sign): extension `requant`",
}
_OPCODE_TEXT = {
    Opcode.LOAD: "DRAM to a scratchpad, with padding",
    Opcode.STORE: "accumulators, narrowed to the activation width, to DRAM",
    Opcode.GEMM: "vector times weight tile, added to an accumulator, once a micro-op and iteration",
    Opcode.FINISH: "end of the stream",
    Opcode.ALU: "operation on accumulators, once a micro-op and iteration",
    Opcode.DEPTHWISE: "several taps of channel pairs to several accumulators: extension `depthwise`; format of GEMM",
}
_SEMANTICS = (
    "**Addresses.** The byte address of an element is the base register of its memory + `dram_base` * element bytes, "
    f"cut to the address width. Base registers are multiples of {BASE_ALIGNMENT}.",
    "**LOAD** fills the scratchpad from `sram_base` with `y_pad_0 + y_size + y_pad_1` rows of "
    "`x_pad_0 + x_size + x_pad_1` elements. Padding is zero bits. DRAM advances `x_stride` elements a row, which may "
    "be less than `x_size`. ACC_8BIT reads 8 bits an element and sign-extends them.",
    "**STORE** is known by its opcode alone: it ignores the memory type and the pads. It sends the low bits of each "
    "accumulator, as many as an activation has, without saturating.",
    "**No rows or no columns** (`x_size` or `y_size` 0): nothing moves, the tokens count.",
    "**GEMM**: for `iter_out`, for `iter_in`, for each micro-op from `uop_bgn` to `uop_end` (exclusive): "
    "`acc[dst][b][o] += sum over i of inp[src][b][i] * wgt[wgt][o][i]`, wrapping; with `reset` it writes 0. An index "
    "is the micro-op's field + outer iteration * `factor_out` + inner iteration * `factor_in`. "
    f"Trip counts go up to {(1 << LOOP_ITER_BITS) - 1}; 0 is no iteration.",
    "**ALU** loops as GEMM: `acc[dst] = operation(acc[dst], operand)`; each operation sees what the earlier wrote.",
    "**One bank** (extension `overlap`): the top bit of an accumulator's index is its bank. `one_bank` of GEMM and ALU "
    "declares that all accumulators of the instruction, sources included, lie in one bank (else a sticky error, and "
    "undefined results); work in the other bank may then go on beside it. `reset` with `one_bank` writes the product "
    "instead of 0. A token of a declared instruction says that it is done, and what is older in its bank; any other "
    "token says that everything older in its unit is done.",
    "**Requantize** (extension `requant`): with `requant`, STORE sends y = clip(round half even((acc + bias) * "
    "multiplier / 2^shift) + zero_point, low, high) instead of acc, computed exactly; `req_index` names the "
    "parameters, with `req_rows` those of row r are `req_index` + r. LOAD REQ (compute unit, base register of ACC) "
    "fills the parameters: for each output channel of a block 16 bytes, fields below. The ALU operation REQ does the "
    "same to an accumulator. With `wide` the rounded value, saturated to the accumulator's width, is the result. An "
    "index past the last parameters wraps, and is an error.",
    "**Pad value** (extension `pad_value`): a LOAD whose bit `pad` is set pads with `pad_value`, of which each element "
    "takes its low bits (accumulators: sign-extended); micro-ops and requantization parameters are padded with zero "
    "bits all the same. `y_size` has 8 bits then.",
    "**DEPTHWISE** (extension `depthwise`): T taps and P outputs of the configuration, T = min(4, block_in / 2), "
    "P = min(2, block_in / 2T). For `iter_out`, for `iter_in`: `sum[p][b][o] = sum over the micro-ops, c < 2, t < T "
    "of inp[src + t][b][2 * floor(o / 2) + c] * wgt[wgt][o][(2 * p + c) * T + t]`; then for p < P `acc[dst + p][b][o] "
    "+= sum[p][b][o]`, with the `dst` of the last micro-op; dst + p wraps within the accumulator bank of dst, which is "
    "an index error. No micro-op, no result. `reset` and `one_bank` as for GEMM. What lies in other columns of the "
    "weights is ignored.",
    "**Tokens.** Four queues: load to compute, compute to load, compute to store, store to compute. For LOAD of INP "
    "and WGT `next` is compute; for STORE `prev` is compute; for all else `prev` is load and `next` is store; the "
    "other bits are ignored. All pops come before the instruction starts, all pushes after its data has landed. A "
    f"queue holds {TOKEN_LIMIT} tokens; a push beyond that waits.",
    "**Order.** Each unit runs its instructions in order; only tokens order the units. The run is done when FINISH, "
    "the last instruction that is dispatched, and all before it have completed.",
    "**Elements** are row-major, [batch][block], weights [out][in], little-endian; below 8 bits element 0 of a byte is "
    "in its low bits. 1-bit activations are 0 and 1; a 1-bit weight is +1 (bit set) or -1.",
)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _bits(item: Field) -> str:
    return str(item.low) if item.width == 1 else f"{item.high}:{item.low}"


def field_table(configs: Sequence[VTAConfig], opcode: Opcode | None) -> str:
    """Bit positions of an instruction's fields, or of a micro-op's (None), one column a configuration."""
    return _format_table(configs, [uop_fields(c) if opcode is None else insn_fields(c, opcode) for c in configs])


def _format_table(configs: Sequence[VTAConfig], tables: Sequence[dict[str, Field]]) -> str:
    rows = [
        (
            f"`{name}`",
            *(_bits(fields[name]) if name in fields else "-" for fields in tables),
            "signed" if item.signed else "",
            item.help,
        )
        for name, item in tables[0].items()
    ]
    return markdown_table(["field", *(cfg.name for cfg in configs), "", "meaning"], rows)


def _memories(configs: Sequence[VTAConfig]) -> str:
    rows = []
    for memory in Memory:
        unit = ("load" if memory in LOAD_UNIT_MEMORIES else "compute") if memory is not Memory.OUT else "-"
        sizes = [f"{sram_depth(cfg, memory)} x {memory_elem_bytes(cfg, memory)} B" for cfg in configs]
        rows.append((memory.value, memory.name, unit, *sizes))
    columns = ["number", "memory", "unit that loads it", *(f"{cfg.name}: elements" for cfg in configs)]
    return markdown_table(columns, rows)


def isa_page() -> str:
    """The instruction set as Markdown."""
    configs = [load_preset(name) for name in _SHOWN]
    opcodes = markdown_table(["opcode", "", "what it does"], [(op.value, op.name, _OPCODE_TEXT[op]) for op in Opcode])
    parts = [
        "# Instruction set\n\nMade from `vta_arch` by `make docs`; do not edit.\n",
        f"An instruction has {INSN_BITS} bits: two little-endian 64-bit words. A field that does not fit in the rest "
        "of a word starts the next one, so that positions depend on the scratchpads' depths; columns are presets.\n",
        opcodes,
    ]
    for op in (Opcode.LOAD, Opcode.STORE, Opcode.GEMM, Opcode.ALU, Opcode.FINISH):
        parts.append(f"## {op.name}\n\n{field_table(configs, op)}")
    padded = _format_table(
        configs, [padded_load_fields(cfg) if "pad_value" in cfg.extensions else {} for cfg in configs]
    )
    parts.append(f"## LOAD with `pad`\n\n{padded}")
    parts.append(f"## Micro-op (32 bits)\n\n{field_table(configs, None)}")
    memories = "Sizes are those in DRAM; the scratchpad of ACC_8BIT and OUT is that of ACC.\n\n" + _memories(configs)
    parts.append(f"## Memory types\n\n{memories}")
    operations = markdown_table(
        ["number", "operation", "acc[dst] becomes"], [(o.value, o.name, _ALU_TEXT[o]) for o in AluOp]
    )
    parts.append(f"## ALU operations\n\nThe operand is acc[src], or `imm` with `use_imm`.\n\n{operations}")
    parts.append("## Semantics\n\n" + "\n".join(f"* {text}" for text in _SEMANTICS) + "\n")
    parameters = markdown_table(
        ["field", "bits", "", "meaning"],
        [(f"`{f.name}`", _bits(f), "signed" if f.signed else "", f.help) for f in REQ_FIELDS.values()],
    )
    parts.append(f"## Requantization parameters of a channel\n\n{parameters}")
    errors = markdown_table(["error", "when"], [(f"`{bit.name}`", ERROR_TEXT[bit]) for bit in Errors])
    parts.append(
        "## Sticky errors\n\nAn unknown opcode is dropped together with its tokens; the tokens of a LOAD of an unknown "
        f"memory type and of an unknown ALU operation count, nothing else happens.\n\n{errors}"
    )
    return "\n".join(parts)


def main(path: Path) -> None:
    """Write the page to ``path``. Raises DataError when it cannot be written."""
    write_text(path, isa_page())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/isa.md"))
