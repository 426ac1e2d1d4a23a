"""Raw instruction streams of any VTA compiler: a JSON manifest names the stream, memory and expectations.

    {"instructions": FILE, "memory": [{"address": A, "file": FILE}], "bases": {"uop": A, ...},
     "expect": [{"address": A, "file": FILE}]}

Paths are relative to the manifest; an address is a number of bytes or a hexadecimal string. ``bases`` may
be left out (every base is 0), and so may each base. Other entries are not read.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.errors import DataError
from vta_arch.isa import INSN_BYTES, Memory
from vta_arch.registers import BASE_MEMORIES

MANIFEST_LIMIT = 1 << 24
"""Largest manifest, bytes."""
FILE_LIMIT = 1 << 30
"""Largest file that a manifest may name, bytes."""

_HEX = re.compile(r"(0[xX])?[0-9a-fA-F]{1,16}")


@dataclass(frozen=True)
class Region:
    """Bytes at an address."""

    address: int
    data: bytes
    source: str

    @property
    def end(self) -> int:
        return self.address + len(self.data)


@dataclass(frozen=True)
class Manifest:
    """A manifest that was checked: every region lies in the address space, memory does not overlap."""

    instructions: bytes
    memory: tuple[Region, ...]
    bases: dict[Memory, int]
    expect: tuple[Region, ...]


def read_manifest(path: Path, cfg: VTAConfig) -> Manifest:
    """Read and check a manifest and the files that it names. Raises DataError, in one line."""
    try:
        values = json.loads(_read_file(path, MANIFEST_LIMIT, str(path)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected an object with instructions, memory and expect")
    if "instructions" not in values:
        raise DataError(f"{path}: entry 'instructions' is missing; it names the file of the stream")
    stream = _read_named(path, values["instructions"], "instructions")
    if not stream or len(stream) % INSN_BYTES:
        raise DataError(f"{path}: instructions have {len(stream)} bytes: must be a positive multiple of {INSN_BYTES}")
    memory = _regions(path, cfg, values, "memory")
    ordered = sorted(memory, key=lambda region: region.address)
    for low, high in itertools.pairwise(ordered):
        if low.end > high.address:
            raise DataError(
                f"{path}: {low.source} ({low.address:#x} to {low.end:#x}) overlaps {high.source} at {high.address:#x}; "
                "give each byte of memory once"
            )
    expect = _regions(path, cfg, values, "expect")
    return Manifest(stream, tuple(memory), _bases(path, cfg, values.get("bases", {})), tuple(expect))


def _read_file(path: Path, limit: int, what: str) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"{what}: {path} is no file" if path.exists() else f"{what}: there is no file {path}")
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{what}: {size} bytes is too large (limit {limit})")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{what}: {path} cannot be read: {error.strerror or error}") from None


def _read_named(manifest: Path, name: object, what: str) -> bytes:
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{manifest}: {what}: expected a file name, found {_shown(name)}")
    return _read_file(manifest.parent / name, FILE_LIMIT, f"{manifest}: {what}")


def _shown(value: object) -> str:
    return repr(value)[:60]


def _address(manifest: Path, value: object, what: str) -> int:
    """A number, or a string of hexadecimal digits."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _HEX.fullmatch(value):
        return int(value, 16)
    raise DataError(f'{manifest}: {what}: expected a number or a hex string like "0x1000", found {_shown(value)}')


def _regions(manifest: Path, cfg: VTAConfig, values: dict[str, Any], key: str) -> list[Region]:
    entries = values.get(key)
    if not isinstance(entries, list):
        raise DataError(f'{manifest}: {key}: expected a list of {{"address", "file"}}, found {_shown(entries)}')
    regions = []
    for number, entry in enumerate(entries):
        what = f"{key}[{number}]"
        if not isinstance(entry, dict) or "address" not in entry or "file" not in entry:
            raise DataError(f'{manifest}: {what}: expected {{"address", "file"}}, found {_shown(entry)}')
        address = _address(manifest, entry["address"], f"{what}.address")
        region = Region(address, _read_named(manifest, entry["file"], f"{what}.file"), what)
        if key == "expect" and not region.data:
            raise DataError(f"{manifest}: {what}.file is empty: nothing to compare")
        if region.end > 1 << cfg.axi_addr_width:
            raise DataError(
                f"{manifest}: {what}: {len(region.data)} bytes at {address:#x} go beyond the {cfg.axi_addr_width}-bit "
                "address space; lower the address or choose a configuration with a larger axi_addr_width"
            )
        regions.append(region)
    return regions


def _bases(manifest: Path, cfg: VTAConfig, values: object) -> dict[Memory, int]:
    names = {memory.name.lower(): memory for memory in BASE_MEMORIES}
    if not isinstance(values, dict):
        raise DataError(f"{manifest}: bases: expected an object, found {_shown(values)}")
    bases = dict.fromkeys(BASE_MEMORIES, 0)
    for name, value in values.items():
        if name not in names:
            raise DataError(f"{manifest}: bases: unknown memory {_shown(name)}; known: {', '.join(names)}")
        address = _address(manifest, value, f"bases.{name}")
        if address % BASE_ALIGNMENT or address >= 1 << cfg.axi_addr_width:
            raise DataError(
                f"{manifest}: bases.{name} = {address:#x}: must be a multiple of {BASE_ALIGNMENT} in the "
                f"{cfg.axi_addr_width}-bit address space"
            )
        bases[names[name]] = address
    return bases
