"""A program or a raw instruction stream as lines of text."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from vta_arch.disasm import disassemble
from vta_arch.errors import DataError, IsaError, ProgramError
from vta_arch.packing import PackStep
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_arch.program import Program

MAX_STREAM_BYTES = 1 << 30
"""Largest raw instruction stream that is listed: 64 M instructions."""


def check_configuration(program: Program, config: str | None, path: Path) -> None:
    """Raise ProgramError when ``config`` is given and is not the one that ``program`` was made for."""
    if config is None:
        return
    wanted = load_config(config)
    if wanted.fingerprint() != program.config.fingerprint():
        raise ProgramError(
            f"{path}: made for configuration {program.config.name} ({program.config.fingerprint_hex}), not for "
            f"{wanted.name} ({wanted.fingerprint_hex}); compile the network again with --config {config}"
        )


def listing(path: Path, config: str | None = None) -> Iterator[str]:
    """Lines of the listing of a ``.vta`` program or of raw instructions.

    Args:
        config: preset or file. A raw stream is decoded for it (None: the default preset); a program
            must have been made for it.

    Raises DataError, ProgramError, IsaError or ConfigError.
    """
    if zipfile.is_zipfile(path):
        program = Program.load(path)
        check_configuration(program, config, path)
        yield f"# {path.name}: configuration {program.config.name}, fingerprint {program.config.fingerprint_hex}"
        yield from _notes(program)
        yield from _numbered(disassemble(program.config, program.instruction_bytes))
        return
    cfg = load_config(config or DEFAULT_PRESET)
    try:
        lines = disassemble(cfg, _read(path))
    except IsaError as error:
        raise IsaError(f"{path}: {error}") from None
    yield from _numbered(lines)


def _notes(program: Program) -> Iterator[str]:
    """What the instructions do not say: tensors that the CPU packs, and how each layer was chosen, as comments."""
    for step in program.steps:
        if isinstance(step, PackStep):
            packed = program.tensors[step.output]
            yield (
                f"# packing {step.input} {list(program.tensors[step.input].shape)} -> {step.output} "
                f"{list(packed.shape)}: window {step.window}, strides {step.strides}, dilations {step.dilations}, "
                f"before {step.before}, padded with {step.value}"
            )
    for name, text in program.choices.items():
        yield f"# layer {name}: {text}"


def _numbered(lines: list[str]) -> Iterator[str]:
    return (f"{index:6d}  {line}" for index, line in enumerate(lines))


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_STREAM_BYTES:
            raise DataError(f"{path}: {size} bytes is too large for an instruction stream (limit {MAX_STREAM_BYTES})")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
