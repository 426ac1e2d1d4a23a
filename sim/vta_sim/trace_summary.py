"""Where the cycles of recorded launches went, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .trace_spans import Span
from .trace_waits import Wait


@dataclass
class EngineTotal:
    """Of one engine: its instructions, the cycles in which it worked, and those in which it waited, by reason."""

    instructions: int = 0
    busy: int = 0
    waits: Counter[str] = field(default_factory=Counter)


@dataclass
class LayerTotal:
    """Of one layer: its cycles, from the end of the layer before to its own, and those in which the array worked."""

    cycles: int = 0
    array_busy: int = 0
    macs: int = 0


@dataclass
class Summary:
    """All launches together; engines by their row's name (``compute GEMM``), layers by name."""

    launches: int = 0
    cycles: int = 0
    engines: dict[str, EngineTotal] = field(default_factory=dict)
    layers: dict[str, LayerTotal] = field(default_factory=dict)

    def add_engine(self, row: str, spans: Iterable[Span], waits: Iterable[Wait]) -> None:
        """Count an engine's instructions and waits of a launch."""
        total = self.engines.setdefault(row, EngineTotal())
        for span in spans:
            total.instructions += 1
            total.busy += span.busy
        for wait in waits:
            total.waits[wait.reason] += wait.end - wait.begin

    def add_layer(self, name: str, cycles: int, array_busy: int, macs: int) -> None:
        """Count one pass of a layer."""
        total = self.layers.setdefault(name, LayerTotal())
        total.cycles += cycles
        total.array_busy += array_busy
        total.macs += macs

    def share(self, cycles: int) -> str:
        """Cycles as a percentage of all."""
        return f"{100 * cycles / self.cycles:.1f} %" if self.cycles else "-"

    def engine_rows(self) -> list[tuple[str, str, str, str]]:
        """Of each engine that did something: row, instructions, share of busy cycles, waits with the longest first."""
        return [
            (row, f"{total.instructions:,}", self.share(total.busy), self._waits(total.waits))
            for row, total in self.engines.items()
            if total.instructions
        ]

    def layer_rows(self) -> list[tuple[str, str, str, str]]:
        """Of each layer: name, cycles, share of all cycles, and of its own in which the array worked."""
        return [
            (name, f"{total.cycles:,}", self.share(total.cycles), f"{100 * total.array_busy / total.cycles:.1f} %")
            for name, total in self.layers.items()
            if total.cycles
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; all numbers are cycles but ``launches``, ``instructions`` and ``macs``."""
        engines = {
            row: {"instructions": total.instructions, "busy": total.busy, "waits": dict(total.waits.most_common())}
            for row, total in self.engines.items()
        }
        layers: Mapping[str, Any] = {name: vars(total) for name, total in self.layers.items()}
        return {"launches": self.launches, "cycles": self.cycles, "engines": engines, "layers": dict(layers)}

    def _waits(self, waits: Counter[str]) -> str:
        return ", ".join(f"{reason} {self.share(cycles)}" for reason, cycles in waits.most_common(3)) or "-"
