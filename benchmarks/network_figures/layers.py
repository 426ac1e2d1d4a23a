"""Where a network's cycles go: each layer's cycles on the RTL beside what it computes and what it moves."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vta_app import Program, run
from vta_arch.encoding import Insn
from vta_arch.errors import DeviceError
from vta_arch.isa import INSN_BYTES, Memory, Opcode, memory_elem_bytes
from vta_arch.program import Layer
from vta_sim.memory_model import MemoryModel

from .measure import Built

COLUMNS = ("layer", "operator", "shape", "cycles", "ideal", "lost", "ratio", "array busy", "beats in", "beats out")


@dataclass(frozen=True)
class LayerFigures:
    """One layer; ``beats`` are those of its loads and instructions, and of its stores."""

    name: str
    operator: str
    shape: str
    cycles: int
    ideal: float
    array_busy: int
    beats_in: int
    beats_out: int

    @property
    def lost(self) -> float:
        """Cycles beyond the ideal ones."""
        return self.cycles - self.ideal


def measure_layers(built: Built, interval: int = 1) -> list[LayerFigures]:
    """Every layer within a run of the whole network: from the end of the layer before to its own."""
    memory = MemoryModel(beat_interval=interval)
    report = run(built.program, built.image, backend="rtl", trace=os.devnull, memory=memory)
    if report.timeline is None:
        raise DeviceError(f"network {built.case.network}: nothing of it ran on the accelerator")
    insns, found = built.program.instructions(), []
    for layer in built.program.layers:
        total = report.timeline.layers[layer.name]
        beats = _beats(built.program, layer, insns[layer.first : layer.first + layer.count])
        ideal = layer.macs / built.cfg.macs_per_cycle
        operator, shape = _described(built.program, layer)
        found.append(LayerFigures(layer.name, operator, shape, total.cycles, ideal, total.array_busy, *beats))
    return found


def _described(program: Program, layer: Layer) -> tuple[str, str]:
    """What the layer computes, and on what: [channels, height, width] of its first input and of its output."""
    source, result = (program.tensors[name].shape[1:] for name in (layer.inputs[0], layer.output))
    window = layer.attributes.get("kernel", ())
    parts = [layer.op, "x".join(map(str, window)), f"/{layer.attributes['strides'][0]}" if window else ""]
    return " ".join(filter(None, parts)), " -> ".join("x".join(map(str, shape)) for shape in (source, result))


def _beats(program: Program, layer: Layer, insns: list[Insn]) -> tuple[int, int]:
    """Whole beats that the layer's instructions read, themselves included, and write."""
    cfg, read, written = program.config, layer.count * INSN_BYTES, 0
    for insn in insns:
        if insn.opcode not in (Opcode.LOAD, Opcode.STORE):
            continue
        size = insn["x_size"] * insn["y_size"] * memory_elem_bytes(cfg, Memory(insn["memory_type"]))
        read, written = (read + size, written) if insn.opcode == Opcode.LOAD else (read, written + size)
    beat = cfg.axi_data_width // 8
    return -(-read // beat), -(-written // beat)


def layer_row(figures: LayerFigures) -> tuple[str, ...]:
    """The cells of a layer, as in COLUMNS."""
    ratio = f"{figures.cycles / figures.ideal:.2f}" if figures.ideal else "-"
    numbers = (figures.array_busy, figures.beats_in, figures.beats_out)
    return (
        figures.name,
        figures.operator,
        figures.shape,
        f"{figures.cycles:,}",
        f"{figures.ideal:,.0f}",
        f"{figures.lost:,.0f}",
        ratio,
        *(f"{number:,}" for number in numbers),
    )
