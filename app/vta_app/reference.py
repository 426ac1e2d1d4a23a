"""The reference pages ``docs/isa.md`` and ``docs/registers.md`` and the C header ``docs/vta_registers.h``, made from
:mod:`vta_arch`.

Run as a script it writes them into a folder:

    python -m vta_app.reference docs
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path

from vta_arch.c_header import HEADER_NAME, registers_header
from vta_arch.describe import isa_page, markdown_table
from vta_arch.files import write_text
from vta_arch.registers import CONTROL_ADDRESS_BITS, DEADLOCK_CYCLES, ERROR_TEXT, REGISTERS, Errors

_NOTE = "Made from `vta_arch` by `make docs`; do not edit."


def _text(texts: Mapping[Errors, str], bit: IntFlag) -> list[str]:
    return [texts[Errors(bit)]] if texts else []


def registers_page() -> str:
    """The register map as Markdown."""
    rows = [(f"`{r.offset:#04x}`", f"`{r.name}`", r.access.value, r.help) for r in REGISTERS]
    parts = [
        f"# Registers\n\n{_NOTE}\n",
        f"The AXI-Lite port `s_axi_control` has {CONTROL_ADDRESS_BITS} address bits and 32-bit registers; a pair "
        "`_LO`, `_HI` holds a 64-bit quantity. Other offsets read 0 and ignore writes.\n",
        markdown_table(["offset", "register", "access", "meaning"], rows),
    ]
    for register in REGISTERS:
        if register.bits is None:
            continue
        named = register.bits.__members__.values()
        texts = ERROR_TEXT if register.bits is Errors else {}
        bits = [(bit.value.bit_length() - 1, f"`{bit.name}`", *_text(texts, bit)) for bit in named]
        columns = ["bit", "name", "meaning"] if texts else ["bit", "name"]
        parts.append(f"## {register.name}\n\n{markdown_table(columns, bits)}")
    parts.append(f"A deadlock is reported after {DEADLOCK_CYCLES} cycles in which nothing moved.\n")
    return "\n".join(parts)


def main(folder: Path) -> None:
    """Write the pages and the header into ``folder``."""
    write_text(folder / "isa.md", isa_page())
    write_text(folder / "registers.md", registers_page())
    write_text(folder / HEADER_NAME, registers_header())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
