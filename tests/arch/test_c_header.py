"""The C header: every register and bit is in it, and a C compiler agrees about the values."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from vta_arch.c_header import HEADER_NAME, registers_header
from vta_arch.registers import BASE_MEMORIES, IDENT, OFFSETS, REGISTERS, Errors, Status

COMPILER = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def test_every_register_and_bit_is_there_once() -> None:
    names = re.findall(r"^#define (\w+)", registers_header(), re.MULTILINE)
    assert len(set(names)) == len(names)
    assert {f"VTA_REG_{name}" for name in OFFSETS} <= set(names)
    for register in REGISTERS:
        for bit in register.bits or ():
            assert f"VTA_{register.name}_{bit.name}" in names
    for bit in Errors:
        assert f"ITEM(VTA_ERRORS_{bit.name}, " in registers_header()
    for name in BASE_MEMORIES.values():
        assert f"ITEM(VTA_REG_{name}_LO)" in registers_header()


@pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")
def test_a_c_compiler_agrees(tmp_path: Path) -> None:
    (tmp_path / HEADER_NAME).write_text(registers_header(), encoding="utf-8")
    facts = {f"VTA_REG_{name}": offset for name, offset in OFFSETS.items()}
    facts |= {f"VTA_ERRORS_{bit.name}": bit.value for bit in Errors}
    facts |= {f"VTA_STATUS_{bit.name}": bit.value for bit in Status}
    facts["VTA_IDENT_VALUE"] = IDENT
    lines = [f"typedef char check_{n}[({name} == {value}u) ? 1 : -1];" for n, (name, value) in enumerate(facts.items())]
    source = tmp_path / "check.c"
    include = f'#include "{HEADER_NAME}"\n' * 2
    source.write_text(include + "\n".join(lines) + "\nint main(void) { return 0; }\n", encoding="utf-8")
    command = [str(COMPILER), "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", source, "-o", "check.o"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
