"""The register map as a C header, made from :mod:`vta_arch.registers`.

python -m vta_arch.c_header docs/vta_registers.h
"""

from __future__ import annotations

import sys
from pathlib import Path

from .files import write_text
from .registers import (
    BASE_MEMORIES,
    CONTROL_ADDRESS_BITS,
    ERROR_TEXT,
    HW_VERSION,
    IDENT,
    NO_INSN,
    REGISTERS,
    WINDOW_PAGE,
    Errors,
)

HEADER_NAME = "vta_registers.h"
_GUARD = "VTA_REGISTERS_H"


def _comment(text: str) -> str:
    return f"/* {text} */"


def _define(name: str, value: str, text: str = "") -> str:
    line = f"#define VTA_{name} {value}"
    return f"{line} {_comment(text)}" if text else line


def _list(name: str, items: list[str]) -> str:
    return " \\\n    ".join([f"#define VTA_{name}(ITEM)", *items])


def registers_header() -> str:
    """Offsets of all registers as ``VTA_REG_<name>`` (bytes), bits as ``VTA_<register>_<bit>``, values of constants.

    ``VTA_ERRORS_LIST(ITEM)`` is ITEM(bit, "text") for each error, ``VTA_BASES_LIST(ITEM)`` is ITEM(offset) for the low
    word of each base register.

    C99, nothing included, no type but the preprocessor's own.
    """
    lines = [
        _comment("Made from vta_arch by `make docs`; do not edit."),
        f"#ifndef {_GUARD}\n#define {_GUARD}\n",
        _comment("The registers have 32 bits each; _LO and _HI are the words of a 64-bit quantity."),
        _define("REG_SPACE_BYTES", f"{1 << CONTROL_ADDRESS_BITS:#x}u"),
    ]
    for register in REGISTERS:
        lines.append(
            _define(f"REG_{register.name}", f"{register.offset:#05x}u", f"{register.access.value}: {register.help}")
        )
    for register in REGISTERS:
        if register.bits is None:
            continue
        lines.append(f"\n{_comment(f'Bits of {register.name}')}")
        for bit in register.bits:
            text = ERROR_TEXT[bit] if isinstance(bit, Errors) else ""
            lines.append(_define(f"{register.name}_{bit.name}", f"{bit.value:#010x}u", text))
    lines += [
        f"\n{_comment('Values')}",
        _define("IDENT_VALUE", f"{IDENT:#010x}u"),
        _define("HW_VERSION_VALUE", f"{HW_VERSION:#010x}u"),
        _define("NO_INSN", f"{NO_INSN:#010x}u", "ERROR_INSN when no instruction is to blame"),
        _define("WINDOW_PAGE", f"{WINDOW_PAGE}u", "bytes; the DMA window's ends are multiples of it"),
        f"\n{_comment('Lists, for tables of those who include this')}",
        _list("ERRORS_LIST", [f'ITEM(VTA_ERRORS_{bit.name}, "{text}")' for bit, text in ERROR_TEXT.items()]),
        _list("BASES_LIST", [f"ITEM(VTA_REG_{name}_LO)" for name in BASE_MEMORIES.values()]),
        "\n#endif",
    ]
    return "\n".join(lines) + "\n"


def main(path: Path) -> None:
    """Write the header to ``path``. Raises DataError when it cannot be written."""
    write_text(path, registers_header())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else f"docs/{HEADER_NAME}"))
