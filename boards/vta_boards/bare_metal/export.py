"""A program as a folder of C files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from vta_arch.c_header import HEADER_NAME, registers_header
from vta_arch.config import BASE_ALIGNMENT
from vta_arch.errors import DataError, ProgramError
from vta_arch.files import write_text
from vta_arch.isa import INSN_BYTES
from vta_arch.layout import ceil_div
from vta_arch.program import ALONE, Program, Segment
from vta_arch.registers import WINDOW_PAGE
from vta_runtime.register_sequences import DEFAULT_WATCHDOG, RESET_POLLS

from ..board import BOARDS, ZYNQ7
from . import c_text
from .border import Border, cut
from .cpu_nodes import MAX_RANK
from .ports import Scales, border_scales, port_line, port_names
from .sample import Sample, sample_texts
from .schedule import Schedule

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_NAME = "program"
ARENA_LIMIT = 1 << 29
"""Bytes of the largest arena: the C counts its elements, eight a byte at most, in 32 bits."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Exported:
    """What was written: bytes of each file by name, and the memory that the program takes."""

    files: Mapping[str, int]
    arena_bytes: int
    constant_bytes: int
    buffer_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.__dict__, "files": dict(self.files), "inputs": list(self.inputs), "outputs": list(self.outputs)}


def export_c(
    program: Program,
    folder: str | Path,
    *,
    name: str = DEFAULT_NAME,
    border: Border = Border.NONE,
    samples: Mapping[str, NDArray[Any]] | None = None,
) -> Exported:
    """Write ``program`` as C into ``folder``, which is made where it is missing; files of the same names are replaced.

    Args:
        name: of the program's files and symbols, a C identifier of small letters.
        border: the ends at which the program takes or gives the accelerator's integers, see :func:`cut`.
        samples: inputs for the example, [images, ...] by input name; without them it runs one image of zeros.

    The C gives the bytes that running the program gives. Raises ProgramError for a CPU operator or type that has no
    form in C, by node, and DataError for samples that do not fit or a folder that cannot be written. Nothing is written
    unless all of it can be.
    """
    if not _NAME.fullmatch(name) or name.startswith(("vta", "sample", "main")):
        raise DataError(f"name {name!r}: must be small letters, digits and _, not beginning with vta, sample or main")
    if program.arena_size > ARENA_LIMIT:
        raise ProgramError(f"program: an arena of {program.arena_size} bytes; exported C has at most {ARENA_LIMIT}")
    whole, program = program, cut(program, border)
    schedule = Schedule(program)
    schedule.write()
    sample = Sample.of(program, samples)
    facts = _facts(program, name) | sample_texts(program, sample)
    facts |= _tables(program, name, schedule, border_scales(whole, program))
    facts |= {"NAME": name.upper(), "name": name, "BUFFER_BYTES": str(schedule.body.buffers)}
    texts = {HEADER_NAME: registers_header()}
    for template in sorted(TEMPLATES.iterdir()):
        texts[template.name.replace("program", name)] = _filled(template.read_text(encoding="utf-8"), facts)
    _write(Path(folder), texts)
    return Exported(
        {file: len(text) for file, text in texts.items()},
        _arena_bytes(program),
        sum(len(segment.data) for segment in _segments(program)),
        schedule.body.buffers,
        program.inputs,
        program.outputs,
    )


def _filled(template: str, facts: Mapping[str, str]) -> str:
    """The template with ``@KEY@`` replaced by facts, once: what is filled in is not looked at again."""
    return re.sub(r"@(\w+)@", lambda match: facts[match[1]], template)


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from None
    for name, text in texts.items():
        write_text(folder / name, text)


def _segments(program: Program) -> list[Segment]:
    """Constants that a run reads: layers do not run alone in C."""
    return [segment for segment in program.segments if segment.data and segment.name != ALONE]


def _arena_bytes(program: Program) -> int:
    return ceil_div(max(program.arena_size, 1), WINDOW_PAGE) * WINDOW_PAGE


def _facts(program: Program, name: str) -> dict[str, str]:
    """Single numbers and names."""
    config = program.config
    system = BOARDS[config.board].system if config.board in BOARDS else ZYNQ7
    return {
        "TITLE": c_text.in_comment(f"{program.name} ({name})"),
        "CONFIG": c_text.in_comment(config.name),
        "BATCH": str(program.batch),
        "ARENA_BYTES": str(_arena_bytes(program)),
        "CONSTANT_BYTES": str(sum(len(segment.data) for segment in _segments(program))),
        "CAPABILITY": f"{config.capabilities:#010x}",
        "FINGERPRINT": f"{config.fingerprint():#018x}",
        "FINGERPRINT_HEX": config.fingerprint_hex,
        "ADDRESS_BITS": str(config.axi_addr_width),
        "BASE_ADDRESS": f"{system.control_base:#x}",
        "BASE_ALIGNMENT": str(BASE_ALIGNMENT),
        "INSN_BYTES": str(INSN_BYTES),
        "DEFAULT_WATCHDOG": str(DEFAULT_WATCHDOG),
        "RESET_POLLS": str(RESET_POLLS),
        "MAX_RANK": str(MAX_RANK),
    }


def _tables(program: Program, name: str, schedule: Schedule, scales: Scales) -> dict[str, str]:
    """Arrays of the program and what stands in them."""
    config, segments = program.config, _segments(program)
    words, entries = [], []
    for segment in segments:
        array = f"segment_{c_text.identifier(segment.name).lower()}"
        words.append(c_text.words(array, segment.data))
        size = len(segment.data)
        entries.append(f"    {{{c_text.string(segment.name)}, {segment.offset}, {size}, {array}}},")
    tiling = f"{config.inp_width}, {int(config.inp_is_signed)}"
    lines = {what: [port_line(program.tensors[n], scales.get(n)) for n in names] for what, names in _ends(program)}
    return {
        "SEGMENT_WORDS": "\n".join(words),
        "SEGMENTS": "\n".join(entries),
        "INP_TILING": f"{config.batch}, {config.block_in}, {tiling}",
        "OUT_TILING": f"{config.batch}, {config.block_out}, {tiling}",
        "TENSORS": "\n".join(f"    {text}," for text in schedule.tensors),
        "INPUTS": "\n".join(lines["INPUT"]),
        "OUTPUTS": "\n".join(lines["OUTPUT"]),
        "PORT_NAMES": "\n".join(port_names(name.upper(), what, names) for what, names in _ends(program)),
        "PORT_LINES": _port_lines(program),
        "ARRAYS": "\n".join(schedule.body.arrays),
        "STATEMENTS": "\n".join(f"    {text}" for text in schedule.body.statements),
    }


def _ends(program: Program) -> list[tuple[str, tuple[str, ...]]]:
    return [("INPUT", program.inputs), ("OUTPUT", program.outputs)]


def _port_lines(program: Program) -> str:
    lines = []
    for what, names in _ends(program):
        for number, name in enumerate(names):
            tensor = program.tensors[name]
            shown = c_text.plain(name).replace("`", "'")
            lines.append(f"- `{what.lower()}s[{number}]`: `{shown}`, {tensor.dtype} {list(tensor.shape)}")
    return "\n".join(lines)
