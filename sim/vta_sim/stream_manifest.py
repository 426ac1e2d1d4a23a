"""Runs a raw instruction stream of any VTA compiler and compares memory: see :mod:`vta_sim.manifest`."""

from __future__ import annotations

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

from .manifest import FILE_LIMIT, MANIFEST_LIMIT, Manifest, Region, read_manifest

__all__ = [
    "FILE_LIMIT",
    "MANIFEST_LIMIT",
    "Difference",
    "ExecReport",
    "Manifest",
    "Region",
    "place_instructions",
    "read_manifest",
    "run_manifest",
]

_FATAL = Errors.DEADLOCK | Errors.NO_FINISH | Errors.AXI_READ | Errors.AXI_WRITE


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
