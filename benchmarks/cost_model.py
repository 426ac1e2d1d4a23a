"""How far the cycle model is from the RTL: every layer of the benchmark networks alone, predicted and measured.

Usage: python benchmarks/cost_model.py [--network NAME]... [--config NAME]... [--half-bus] [--layers] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from network_figures.cases import CASES
from network_figures.measure import seeded
from vta_app import VTAConfig, compile, load_config, quantize
from vta_app.output import print_table, write_json
from vta_arch.presets import DEFAULT_PRESET
from vta_arch.program import Program, Region
from vta_runtime.executor import Executor
from vta_sim.memory_model import MemoryModel
from vta_sim.rtl import RtlDevice
from vta_sw.cycles.program import layer_cycles, region_cycles
from vta_sw.cycles.timing import HALF_BUS, REFERENCE_MEMORY, MemoryTiming
from vta_sw.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
WHOLE = "(all launches)"
"""The network as it runs, its layers overlapping."""
LIMIT = 5.0
"""Percent that no layer's error may reach."""


@dataclass(frozen=True)
class LayerError:
    """Cycles of a layer alone, or of the whole network."""

    network: str
    config: str
    beat_interval: float
    layer: str
    op: str
    instructions: int
    predicted: int
    measured: int

    @property
    def percent(self) -> float:
        """The prediction's error; negative: too few cycles."""
        return 100 * (self.predicted - self.measured) / self.measured


def pairs(networks: list[str] | None, configs: list[str] | None) -> list[tuple[str, str]]:
    """Networks and their configurations: those of the benchmarks, unless named."""
    own = {case.network: case.preset for case in CASES}
    named = networks or list(own)
    return [(name, config) for name in named for config in configs or [own.get(name, DEFAULT_PRESET)]]


def compiled(network: str, cfg: VTAConfig) -> Program:
    """A network of the zoo, quantized with random images."""
    model, images = seeded(network, 2)
    return compile(quantize(model, cfg, images), cfg)


def measure(program: Program, network: str, memory: MemoryTiming = REFERENCE_MEMORY) -> list[LayerError]:
    """Every layer of a program, alone on the RTL and by the model."""
    cfg = program.config
    model = MemoryModel(latency=memory.latency, beat_interval=memory.beat_interval)
    rng = np.random.default_rng(2)
    tensors = [program.tensors[name] for name in program.inputs]
    inputs = {tensor.name: rng.normal(size=(program.batch, *tensor.shape[1:])) for tensor in tensors}
    with RtlDevice(cfg, model) as device:
        executor = Executor(program, device)
        executor.run(inputs, layers=[layer.name for layer in program.layers])
        measured = executor.report.cycles_by_layer
        executor.run(inputs)
        whole = executor.report.cycles or 0
    interval = float(memory.beat_interval)
    regions = [step for step in program.steps if isinstance(step, Region)]
    total = sum(region_cycles(program, region, memory) for region in regions)
    count = sum(region.count for region in regions)
    layers = [
        LayerError(
            network,
            cfg.name,
            interval,
            layer.name,
            layer.op,
            layer.count,
            layer_cycles(program, layer.name, memory),
            measured[layer.name],
        )
        for layer in program.layers
    ]
    return [*layers, LayerError(network, cfg.name, interval, WHOLE, "network", count, total, whole)]


def main() -> None:
    """Measure, print a table for all networks (with --layers: for all layers), write JSON; status 1 past the limit."""
    parser = argparse.ArgumentParser(description="Error of the cycle model, layer by layer.")
    parser.add_argument("--network", action="append", choices=sorted(MODELS))
    parser.add_argument("--config", action="append")
    parser.add_argument("--half-bus", action="store_true", help="a beat every two cycles, besides")
    parser.add_argument("--layers", action="store_true", help="print every layer")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_cost_model.json")
    arguments = parser.parse_args()
    found: list[LayerError] = []
    for network, config in pairs(arguments.network, arguments.config):
        program = compiled(network, load_config(config))
        for memory in (REFERENCE_MEMORY, HALF_BUS) if arguments.half_bus else (REFERENCE_MEMORY,):
            found += measure(program, network, memory)
    if arguments.layers:
        print_layers(found)
    print_networks(found)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.json, [asdict(item) | {"percent": item.percent} for item in found])
    sys.exit(any(abs(item.percent) >= LIMIT for item in found))


def print_layers(found: list[LayerError]) -> None:
    """One row a layer."""
    columns = ["network", "configuration", "cycles a beat", "layer", "instructions", "predicted", "measured", "error"]
    rows = [
        [
            item.network,
            item.config,
            f"{item.beat_interval:g}",
            item.layer,
            f"{item.instructions:,}",
            f"{item.predicted:,}",
            f"{item.measured:,}",
            f"{item.percent:+.1f} %",
        ]
        for item in found
    ]
    print_table(columns, rows, right=columns[4:])


def print_networks(found: list[LayerError]) -> None:
    """One row a network, configuration and memory."""
    columns = ["network", "configuration", "cycles a beat", "layers", "mean error", "largest error", "of"]
    columns += ["whole, measured", "error"]
    rows = []
    for key in dict.fromkeys((item.network, item.config, item.beat_interval) for item in found):
        *items, whole = (item for item in found if (item.network, item.config, item.beat_interval) == key)
        worst = max(items, key=lambda item: abs(item.percent))
        mean = sum(abs(item.percent) for item in items) / len(items)
        row = [*key[:2], f"{key[2]:g}", len(items), f"{mean:.2f} %", f"{worst.percent:+.2f} %", worst.layer]
        rows.append([*row, f"{whole.measured:,}", f"{whole.percent:+.2f} %"])
    print_table(columns, rows, right=[*columns[2:6], *columns[7:]])


if __name__ == "__main__":
    main()
