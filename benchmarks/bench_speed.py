"""Speed of the simulators, the quantizer and the compiler: `make bench`.

    python benchmarks/bench_speed.py [--config NAME]

The RTL runs one ResNet-18 layer (3x3, 64 to 64 channels, 56x56); the functional simulator runs the ResNet-20 for
CIFAR-10 where the shared data is beside the project, and always MLPerf Tiny's ResNet-8 with random weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from vta_app import Program, VTAConfig, compile, load_config, quantize, run
from vta_app.output import print_table
from vta_arch.presets import DEFAULT_PRESET
from vta_sw.models import MODELS

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LAYER_INPUT = (1, 64, 56, 56)
IMAGES = 100
Row = tuple[str, str]


def build(network: onnx.ModelProto | Path, cfg: VTAConfig, images: NDArray[Any]) -> tuple[Program, float, float]:
    """The program, and the seconds that quantizing and compiling took."""
    start = time.perf_counter()
    quantized = quantize(network, cfg, images)
    middle = time.perf_counter()
    program = compile(quantized, cfg)
    return program, middle - start, time.perf_counter() - middle


def network_rows(name: str, network: onnx.ModelProto | Path, cfg: VTAConfig, images: NDArray[Any]) -> Iterator[Row]:
    """Quantize, compile and run functionally."""
    program, quantizing, compiling = build(network, cfg, images)
    yield f"{name}: quantize", f"{quantizing:.2f} s"
    yield f"{name}: compile", f"{compiling:.2f} s"
    report = run(program, images)
    yield f"{name}: functional simulator", f"{report.images / report.seconds:.1f} images/s"


def layer_row(cfg: VTAConfig) -> Row:
    """Cycles a second of the RTL on one layer; building the simulator is not counted."""
    rng = np.random.default_rng(0)
    images = np.maximum(rng.normal(size=LAYER_INPUT), 0).astype(np.float32)
    channels = LAYER_INPUT[1]
    weight = rng.normal(0, 0.05, (channels, channels, 3, 3)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, LAYER_INPUT) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "layer", values[:1], values[1:], [onnx.numpy_helper.from_array(weight, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    report = run(build(model, cfg, images)[0], images, backend="rtl")
    cycles = report.cycles or 0
    return "ResNet-18 layer on the RTL", f"{cycles / report.seconds / 1e6:.2f} M cycles/s ({cycles:,} cycles)"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description="Speed of the simulators, the quantizer and the compiler.")
    parser.add_argument("--config", default=DEFAULT_PRESET)
    cfg = load_config(parser.parse_args().config)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(IMAGES, 3, 32, 32)).astype(np.float32)
    rows = list(network_rows("ResNet-8", MODELS["resnet8"](0), cfg, noise))
    if SHARED.is_dir():
        with np.load(SHARED / "cifar10_test_resnet20.npz") as data:
            images = data["x"][:IMAGES].astype(np.float32)
        rows += network_rows("ResNet-20", SHARED / "resnet20.onnx", cfg, images)
    rows.append(layer_row(cfg))
    print_table(["what", cfg.name], rows, right=[cfg.name])


if __name__ == "__main__":
    main()
