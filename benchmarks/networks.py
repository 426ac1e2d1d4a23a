"""Whole networks on the RTL: cycles beside the ideal and the target, with the whole bus and with half of it.

    python benchmarks/networks.py [--only NAME[,NAME]] [--packing MODE] [--functional] [--json FILE]
    python benchmarks/networks.py --layers NAME [--bus half]

One seeded image a network; every layer is compared with the integer reference on both simulators. Cycles are those of
the accelerator, ideal is :func:`network_figures.cases.ideal_cycles`. With --layers the table is one network's layers:
the ones that lose most first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from network_figures.cases import BUSES, CASES, Case
from network_figures.layers import COLUMNS, layer_row, measure_layers
from network_figures.measure import Figures, build, build_simulator, measure
from vta_app import load_config
from vta_app.output import print_table, stderr, stdout, write_json
from vta_sw.stem import PACKING_MODES

ROOT = Path(__file__).resolve().parents[1]


def shown(figures: Figures) -> tuple[str, ...]:
    """The cells of a network's row."""
    buses = []
    for name in BUSES:
        bus = figures.buses.get(name)
        buses += [f"{bus.cycles:,}", f"{bus.ratio:.2f}", f"{bus.milliseconds:.2f}"] if bus else ["-"] * 3
    verdict = {True: "reached", False: "MISSED", None: "-"}[figures.reached]
    ideal = f"{figures.buses['whole'].ideal:,.0f}" if figures.buses else "-"
    return (
        figures.case.network,
        figures.case.preset,
        ideal,
        f"{figures.case.reach:,}",
        verdict,
        *buses,
        f"{figures.macs_share:.1%}",
        str(len(figures.on_cpu)),
        str(figures.differing),
        f"{figures.instructions:,}",
        str(figures.launches),
        f"{figures.arena_bytes / 2**20:.1f}",
        f"{figures.quantize_seconds + figures.compile_seconds:.1f}",
        f"{figures.build_cpu_seconds:.1f}",
        f"{figures.functional_seconds:.2f}",
        f"{figures.packing_milliseconds:.1f}",
    )


COLUMN_NAMES = (
    *("network", "configuration", "ideal", "reach", "", "cycles", "x ideal", "ms", "half bus", "x ideal ", "ms "),
    *(
        "MACs",
        "on CPU",
        "differ",
        "instructions",
        "launches",
        "arena MiB",
        "q+c s",
        "q+c CPU s",
        "functional s",
        "pack ms",
    ),
)


def _progress(stage: str, done: int, total: int) -> None:
    stderr().print(f"  {stage} {done}/{total}")


def table(cases: Sequence[Case], packing: str, *, rtl: bool, path: Path) -> int:
    """Measure the networks, print the table, write JSON; the number of elements that differ."""
    results = []
    for case in cases:
        if rtl:
            build_simulator(load_config(case.preset), _progress)
        results.append(measure(build(case, packing), rtl=rtl))
        stderr().print(f"  {case.network}: {', '.join(shown(results[-1])[5:11])}")
    print_table(COLUMN_NAMES, [shown(figures) for figures in results], right=COLUMN_NAMES[2:])
    for figures in results:
        stdout().print(f"{figures.case.network} on the CPU: {', '.join(figures.on_cpu) or 'nothing'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"networks": [figures.to_dict() for figures in results]})
    return sum(figures.differing for figures in results)


def layers(case: Case, packing: str, bus: str, path: Path) -> None:
    """Measure a network's layers, print the table, write JSON."""
    figures = measure_layers(build(case, packing), BUSES[bus])
    ranked = sorted(figures, key=lambda layer: -layer.lost)
    print_table(COLUMNS, [layer_row(layer) for layer in ranked], right=COLUMNS[3:])
    total, ideal = sum(layer.cycles for layer in figures), sum(layer.ideal for layer in figures)
    stdout().print(f"{case.network}, {bus} bus: {total:,} cycles, {ideal:,.0f} ideal, {total - ideal:,.0f} lost")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"network": case.network, "bus": bus, "layers": [asdict(layer) for layer in figures]})


def main() -> None:
    """Read the options and measure."""
    known = {case.network: case for case in CASES}
    parser = argparse.ArgumentParser(description="Whole networks, in cycles of the accelerator's RTL.")
    parser.add_argument("--only", help="these networks, separated by commas: " + ", ".join(known))
    parser.add_argument("--functional", action="store_true", help="no RTL: compare the functional simulator only")
    parser.add_argument("--layers", choices=list(known), help="the layers of one network instead")
    parser.add_argument("--bus", choices=list(BUSES), default="whole", help="with --layers: speed of the bus")
    parser.add_argument("--packing", choices=PACKING_MODES, default=PACKING_MODES[0], help="as of vta compile")
    parser.add_argument("--json", type=Path, help="where to write the figures (default: build/bench_*.json)")
    arguments = parser.parse_args()
    if arguments.layers:
        layers(
            known[arguments.layers],
            arguments.packing,
            arguments.bus,
            arguments.json or ROOT / "build" / "bench_layers.json",
        )
        return
    names = arguments.only.split(",") if arguments.only else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"--only {unknown[0]}: unknown; networks: {', '.join(known)}")
    path = arguments.json or ROOT / "build" / "bench_networks.json"
    if table([known[name] for name in names], arguments.packing, rtl=not arguments.functional, path=path):
        parser.exit(1, "networks: the simulators differ from the integer reference\n")


if __name__ == "__main__":
    main()
