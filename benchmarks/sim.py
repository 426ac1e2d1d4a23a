"""Speed of the simulators.

RTL: a 3x3 convolution of ResNet-18, 64 to 64 channels on 56x56. Functional: the ResNet-20 for CIFAR-10 where the shared
data is beside the project, and one image of a ResNet-18.

Usage: python benchmarks/sim.py [--config NAME] [--json FILE] [--repeat N]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from vta_app import VTAConfig, compile, load_config, quantize, run
from vta_app.output import print_table, write_json
from vta_arch.presets import DEFAULT_PRESET
from vta_runtime.executor import Executor
from vta_sim.rtl import RtlDevice
from vta_sw.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
CHANNELS, SIZE, KERNEL = 64, 56, 3
RESNET20_BATCH, RESNET20_IMAGES = 20, 200
RTL_REACH = 500_000
"""Simulated cycles a second to reach on one core; 300,000 must be there."""
FUNCTIONAL_REACH = 50
"""Images of ResNet-20 a second that the functional simulator must reach."""


def layer_model(seed: int = 0) -> onnx.ModelProto:
    """The layer with ReLU and seeded random weights, float."""
    rng = np.random.default_rng(seed)
    shape = (CHANNELS, CHANNELS, KERNEL, KERNEL)
    weight = rng.normal(0, (CHANNELS * KERNEL * KERNEL) ** -0.5, shape).astype(np.float32)
    bias = rng.normal(0, 0.1, CHANNELS).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, CHANNELS, SIZE, SIZE]) for n in ("x", "y")]
    values = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "layer", ports[:1], ports[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure_rtl(cfg: VTAConfig, repeat: int) -> dict[str, Any]:
    """Simulate the layer ``repeat`` times; the figures of the fastest."""
    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)
    program = compile(quantize(layer_model(), cfg, images), cfg)
    begun = time.perf_counter()
    device = RtlDevice(cfg, progress=lambda stage, done, total: print(f"  {stage} {done}/{total}", file=sys.stderr))
    built = time.perf_counter() - begun
    seconds, processor, cycles = [], [], 0
    with device:
        executor = Executor(program, device)
        for _ in range(repeat):
            before, wall, cpu = device.cycles, time.perf_counter(), time.process_time()
            executor.run({"x": images})
            seconds.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
            cycles = device.cycles - before
    ideal = CHANNELS * CHANNELS * KERNEL * KERNEL * SIZE * SIZE / cfg.macs_per_cycle
    return {
        "cycles": cycles,
        "ideal_cycles": ideal,
        "array_share": ideal / cycles,
        "seconds": min(seconds),
        "cycles_per_second": cycles / min(seconds),
        "cycles_per_cpu_second": cycles / min(processor),
        "reach_cycles_per_second": RTL_REACH,
        "build_seconds": built,
    }


def measure_resnet20(cfg: VTAConfig, repeat: int) -> dict[str, Any]:
    """Images a second of the functional simulator on the shared ResNet-20, the fastest of ``repeat`` runs."""
    with np.load(SHARED / "cifar10_test_resnet20.npz") as data:
        images = data["x"][:RESNET20_IMAGES].astype(np.float32)
    program = compile(quantize(SHARED / "resnet20.onnx", cfg, images), cfg, batch=RESNET20_BATCH)
    seconds = min(run(program, images).seconds for _ in range(repeat))
    return {
        "images": len(images),
        "batch": RESNET20_BATCH,
        "images_per_second": len(images) / seconds,
        "reach_images_per_second": FUNCTIONAL_REACH,
    }


def measure_resnet18(cfg: VTAConfig, repeat: int) -> dict[str, Any]:
    """Seconds of the functional simulator for one image of a ResNet-18, the fastest of ``repeat`` runs."""
    images = np.random.default_rng(2).normal(size=(2, 3, 224, 224)).astype(np.float32)
    program = compile(quantize(MODELS["resnet18"](0), cfg, images), cfg)
    seconds = min(run(program, images[:1]).seconds for _ in range(repeat))
    return {"seconds_per_image": seconds, "macs_per_second": program.macs / program.batch / seconds}


def rows(result: dict[str, Any]) -> list[list[str]]:
    """What was measured, the figure, and what it is compared with."""
    rtl, resnet20, resnet18 = result["rtl_layer"], result["functional_resnet20"], result["functional_resnet18"]
    table = [
        ["RTL layer: cycles", f"{rtl['cycles']:,}", f"ideal {rtl['ideal_cycles']:,.0f}"],
        ["RTL layer: share of the array", f"{rtl['array_share']:.1%}", "ideal 100 %"],
        ["RTL layer: cycles/s", f"{rtl['cycles_per_second']:,.0f}", f"reach {RTL_REACH:,}"],
        ["RTL layer: cycles/s of one core", f"{rtl['cycles_per_cpu_second']:,.0f}", f"reach {RTL_REACH:,}"],
    ]
    if resnet20 is not None:
        speed = f"{resnet20['images_per_second']:.1f}"
        table.append(["functional ResNet-20: images/s", speed, f"reach {FUNCTIONAL_REACH}"])
    table.append(["functional ResNet-18: seconds an image", f"{resnet18['seconds_per_image']:.2f}", "-"])
    return [*table, ["load average", f"{result['load_average']:.1f}", "below the number of cores"]]


def main() -> None:
    """Measure, print one table and write JSON."""
    parser = argparse.ArgumentParser(description="Speed of the simulators.")
    parser.add_argument("--config", default=DEFAULT_PRESET)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_sim.json")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config)
    result = {
        "config": cfg.name,
        "rtl_layer": measure_rtl(cfg, arguments.repeat),
        "functional_resnet20": measure_resnet20(cfg, arguments.repeat) if SHARED.is_dir() else None,
        "functional_resnet18": measure_resnet18(cfg, arguments.repeat),
        "load_average": os.getloadavg()[0],
    }
    print_table(["what", cfg.name, "to compare with"], rows(result), right=[cfg.name])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
