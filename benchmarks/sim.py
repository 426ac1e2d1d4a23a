"""Speed of the RTL simulation: a 3x3 convolution of ResNet-18, 64 to 64 channels on 56x56.

Usage: python benchmarks/sim.py [--config NAME] [--json FILE] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from vta_arch.presets import DEFAULT_PRESET, load_config
from vta_runtime.executor import Executor
from vta_sim.rtl import RtlDevice
from vta_sw.compiler import compile
from vta_sw.quantize import quantize

CHANNELS, SIZE, KERNEL = 64, 56, 3
REACH = 500_000
"""Simulated cycles a second to reach on one core."""


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


def measure(config: str, repeat: int) -> dict[str, object]:
    """Simulate the layer ``repeat`` times; the figures of the fastest."""
    cfg = load_config(config)
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
        "config": cfg.name,
        "cycles": cycles,
        "ideal_cycles": ideal,
        "array_share": ideal / cycles,
        "seconds": min(seconds),
        "cycles_per_second": cycles / min(seconds),
        "cycles_per_cpu_second": cycles / min(processor),
        "reach_cycles_per_second": REACH,
        "build_seconds": built,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=DEFAULT_PRESET)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.config, arguments.repeat)
    print(f"configuration        {result['config']}")
    print(f"cycles               {result['cycles']:>12,}   ideal {result['ideal_cycles']:,.0f}")
    print(f"share of the array   {result['array_share']:>12.1%}")
    print(f"cycles/s             {result['cycles_per_second']:>12,.0f}   reach {REACH:,}")
    print(
        f"cycles/s of one core {result['cycles_per_cpu_second']:>12,.0f}   (load average {result['load_average']:.1f})"
    )
    if arguments.json:
        part = arguments.json.with_name(arguments.json.name + ".part")
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        part.replace(arguments.json)


if __name__ == "__main__":
    main()
