"""Instructions as text and back: one line an instruction, fields that are 0 left out.

    LOAD INP dram_base=0x100 y_size=1 x_size=16 x_stride=16 pop_next
    ALU MAX uop_bgn=1 uop_end=2 iter_out=1 iter_in=16 dst_factor_in=1 src_factor_in=1 use_imm push_next

A line is a mnemonic, for LOAD, STORE and ALU the name of the memory or operation, ``name=value`` fields and
the names of the one-bit fields that are set. An opcode, memory or operation without a name is its number.
"""

from __future__ import annotations

from enum import IntEnum

from .config import VTAConfig
from .encoding import Insn, encode, insn_format
from .errors import IsaError
from .isa import AluOp, Memory, Opcode, insn_fields, opcodes, padded_load_fields

_KINDS: dict[int, tuple[str, type[IntEnum]]] = {
    Opcode.LOAD: ("memory_type", Memory),
    Opcode.STORE: ("memory_type", Memory),
    Opcode.ALU: ("alu_opcode", AluOp),
}
_HEX_FIELDS = ("dram_base",)
_TOKENS = ("pop_prev", "pop_next", "push_prev", "push_next")


def disassemble(cfg: VTAConfig, insn: Insn) -> str:
    """The instruction as one line of text."""
    words = [_name(Opcode, insn.opcode)]
    kind = _KINDS.get(insn.opcode)
    if kind is not None:
        words.append(_name(kind[1], insn[kind[0]]))
    formats = insn_format(cfg, insn)
    order = [name for name in insn.fields if name not in _TOKENS]
    for name in [*order, *(name for name in _TOKENS if name in insn.fields)]:
        value = insn[name]
        if value == 0 or (kind is not None and name == kind[0]):
            continue
        flag = name in _TOKENS or formats[name].width == 1
        words.append(name if flag else f"{name}={value:#x}" if name in _HEX_FIELDS else f"{name}={value}")
    return " ".join(words)


def assemble(cfg: VTAConfig, line: str) -> Insn:
    """The instruction of one line of text. Raises IsaError naming the word that is wrong."""
    words = line.split()
    if not words:
        raise IsaError("an instruction line is empty; expected a mnemonic and its fields")
    opcode = _number(Opcode, words.pop(0), "opcode")
    formats = insn_fields(cfg, Opcode(opcode) if opcode in opcodes(cfg) else Opcode.FINISH)
    if "pad" in formats and "pad" in words:
        formats = padded_load_fields(cfg)
    names = [name for name in formats if name != "opcode"]
    values = dict.fromkeys(names, 0)
    kind = _KINDS.get(opcode)
    if kind is not None:
        if not words:
            raise IsaError(f"{line!r}: the {kind[0]} is missing after the mnemonic")
        values[kind[0]] = _number(kind[1], words.pop(0), kind[0])
    for word in words:
        name, equals, text = word.partition("=")
        if name not in values:
            raise IsaError(f"{line!r}: unknown field {name!r}; known: {', '.join(names)}")
        values[name] = _integer(text, line) if equals else 1
    insn = Insn(opcode, values)
    encode(cfg, insn)
    return insn


def _name(kind: type[IntEnum], value: int) -> str:
    return kind(value).name if value in kind.__members__.values() else str(value)


def _number(kind: type[IntEnum], text: str, what: str) -> int:
    if text in kind.__members__:
        return int(kind[text])
    if text.isdecimal() and int(text) <= 7:
        return int(text)
    raise IsaError(f"{what} {text!r} is unknown; known: {', '.join(kind.__members__)}, or a number from 0 to 7")


def _integer(text: str, line: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise IsaError(f"{line!r}: {text!r} is no number") from None
