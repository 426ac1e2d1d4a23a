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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vta_arch.config import BASE_ALIGNMENT, VTAConfig
from vta_arch.encoding import decode_stream
from vta_arch.errors import DataError
from vta_arch.isa import INSN_BYTES, Memory, Opcode, loadable, memory_elem_bytes
from vta_arch.registers import BASE_MEMORIES, Errors, describe_errors
from vta_runtime.device import Device

MANIFEST_LIMIT = 1 << 24
"""Largest manifest, bytes."""
FILE_LIMIT = 1 << 30
"""Largest file that a manifest may name, bytes."""

_HEX = re.compile(r"(0[xX])?[0-9a-fA-F]{1,16}")
_FATAL = Errors.DEADLOCK | Errors.NO_FINISH | Errors.AXI_READ | Errors.AXI_WRITE


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


@dataclass(frozen=True)
class Difference:
    """The lowest address that differs, and both bytes there."""

    address: int
    expected: int
    found: int


@dataclass(frozen=True)
class ExecReport:
    """What a raw stream did.

    ``differing`` counts bytes of the expected regions; ``cycles`` is None on a device without a clock;
    ``errors`` is one line, '' if the accelerator reported none; ``ended`` is False after a deadlock, a
    stream without FINISH or a failed memory access.
    """

    config: str
    expected_bytes: int
    differing: int
    first: Difference | None
    ended: bool
    errors: str
    cycles: int | None

    @property
    def matched(self) -> bool:
        """Every expected region has the expected bytes."""
        return self.differing == 0

    @property
    def passed(self) -> bool:
        """The run ended by itself and every expected region matched."""
        return self.matched and self.ended

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; addresses and bytes are numbers."""
        first = self.first
        return {
            "config": self.config,
            "passed": self.passed,
            "matched": self.matched,
            "expected_bytes": self.expected_bytes,
            "differing_bytes": self.differing,
            "first_address": None if first is None else first.address,
            "expected_value": None if first is None else first.expected,
            "found_value": None if first is None else first.found,
            "ended": self.ended,
            "errors": self.errors,
            "cycles": self.cycles,
        }

    def to_dict(self) -> dict[str, Any]:
        """Same as :meth:`to_json`."""
        return self.to_json()

    def lines(self) -> list[str]:
        """The report as lines of text."""
        lines = [f"the accelerator reports: {self.errors}"] if self.errors else []
        if self.first is not None:
            lines.append(
                f"first difference at address {self.first.address:#x}: expected {self.first.expected:#04x}, "
                f"found {self.first.found:#04x}; {self.differing} of {self.expected_bytes} bytes differ"
            )
        else:
            lines.append(f"all {self.expected_bytes} expected bytes match")
        if self.cycles is not None:
            lines.append(f"{self.cycles} cycles")
        return lines


def run_manifest(path: str | Path, device: Device) -> ExecReport:
    """Load memory, run the stream, compare the expected regions.

    Raises DataError for a manifest or file that cannot be used, DeviceError when the device fails.
    """
    manifest = read_manifest(Path(path), device.config)
    for region in manifest.memory:
        device.write(region.address, region.data)
    address = place_instructions(device.config, manifest)
    device.write(address, manifest.instructions)
    result = device.launch(address, len(manifest.instructions) // INSN_BYTES, manifest.bases)
    differing, first = 0, None
    for region in sorted(manifest.expect, key=lambda item: item.address):
        found = device.read(region.address, len(region.data))
        expected = np.frombuffer(region.data, dtype=np.uint8)
        wrong = np.flatnonzero(found != expected)
        differing += len(wrong)
        if len(wrong) and first is None:
            at = int(wrong[0])
            first = Difference(region.address + at, int(expected[at]), int(found[at]))
    return ExecReport(
        config=device.config.name,
        expected_bytes=sum(len(region.data) for region in manifest.expect),
        differing=differing,
        first=first,
        ended=not result.errors & _FATAL,
        errors=describe_errors(result.errors, result.status),
        cycles=result.cycles,
    )


# Reading -----------------------------------------------------------------------------------
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


# Placing -----------------------------------------------------------------------------------
def place_instructions(cfg: VTAConfig, manifest: Manifest) -> int:
    """A multiple of 64 bytes outside the listed regions, and outside what the stream moves where possible.

    Raises DataError when there is no such gap.
    """
    listed = [(region.address, region.end) for region in (*manifest.memory, *manifest.expect)]
    size, space = len(manifest.instructions), 1 << cfg.axi_addr_width
    for taken in ([*listed, *_touched(cfg, manifest)], listed):
        at = _gap(taken, size)
        if at + size <= space:
            return at
    raise DataError(f"{size} bytes of instructions find no place beside the listed regions")


def _gap(taken: list[tuple[int, int]], size: int) -> int:
    at = BASE_ALIGNMENT
    for low, high in sorted(taken):
        if low - at >= size:
            break
        at = max(at, -(-high // BASE_ALIGNMENT) * BASE_ALIGNMENT)
    return at


def _touched(cfg: VTAConfig, manifest: Manifest) -> Iterable[tuple[int, int]]:
    """Address ranges that the stream's LOADs and STOREs span."""
    space = 1 << cfg.axi_addr_width
    for memory_type, dram_base, y_size, x_size, stride in _transfers(cfg, manifest.instructions):
        memory = Memory(memory_type)
        size = memory_elem_bytes(cfg, memory)
        base = manifest.bases[memory if memory in BASE_MEMORIES else Memory.ACC]
        low = (base + dram_base * size) % space
        high = low + ((y_size - 1) * stride + x_size) * size
        yield low, min(high, space)
        if high > space:
            yield 0, min(high - space, space)


def _transfers(cfg: VTAConfig, stream: bytes) -> set[tuple[int, int, int, int, int]]:
    """Memory type, dram_base, y_size, x_size and x_stride of each LOAD and STORE that moves something."""
    found = set()
    for insn in decode_stream(cfg, stream):
        if insn.opcode not in (Opcode.LOAD, Opcode.STORE) or not insn["x_size"] or not insn["y_size"]:
            continue
        memory = Memory.OUT if insn.opcode == Opcode.STORE else insn["memory_type"]
        if insn.opcode == Opcode.STORE or memory in loadable(cfg):
            found.add((int(memory), insn["dram_base"], insn["y_size"], insn["x_size"], insn["x_stride"]))
    return found
